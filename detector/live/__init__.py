"""The worker: windows in, scores, incidents out."""
