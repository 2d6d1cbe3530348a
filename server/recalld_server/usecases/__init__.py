"""Policy: one file for each noun, plain async code over ports. `jobs/` holds the queued work."""
