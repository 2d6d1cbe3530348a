"""Work on a ledger without its server: migration, preflight checks, keys, projects and reindex requests."""
