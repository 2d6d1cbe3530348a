"""Mechanism: SQL, the ledger, the index engines, embedders, extractors, export formats."""
