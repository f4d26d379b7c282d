"""Histories to students: the full fit, the prototype update, the gate."""
