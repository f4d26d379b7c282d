"""Metrics as other tools write them: pure decoders of payloads, what a payload looks like, and readers of files."""
