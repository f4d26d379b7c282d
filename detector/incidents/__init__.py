"""When surprise becomes an incident, what is remembered of it, and how it is worded."""
