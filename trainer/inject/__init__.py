"""Synthetic anomalies, put into a stream’s own history."""
