"""The whole job, resumable."""
