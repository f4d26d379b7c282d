"""`anomalyllm doctor`: one look at everything an installation stands on; each finding comes with its cure."""
