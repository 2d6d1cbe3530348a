"""Settings and the composition root, which opens the adapters and connects them to the use cases."""
