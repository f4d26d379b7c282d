"""`anomalyllm replay`: recorded data through the real workers, in topics of their own; nobody is paged."""
