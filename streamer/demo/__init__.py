"""Everything of `anomalyllm demo`."""
