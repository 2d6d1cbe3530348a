"""Tasks that run without a call on every server, under one supervisor."""
