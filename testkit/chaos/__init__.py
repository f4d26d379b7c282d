"""Faults while streams flow: what comes out must be what an undisturbed run makes of the same records."""
