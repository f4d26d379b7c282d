"""What runs a worker on a host: the embedded stack, child processes, logs, statistics."""
