"""Time slices, fair queues and daemon threads. They know nothing of memories."""
