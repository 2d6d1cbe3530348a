"""Protocols that the use cases call. A port's docstring is its contract; a suite in `tests/contract` holds adapters to
it."""
