"""Scoring: teacher, student bank, calibration, incidents and the micro-batching worker."""
