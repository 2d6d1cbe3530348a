"""Policy: one file for each noun, plain async code over ports. `usecases/jobs/` holds the queued work."""
