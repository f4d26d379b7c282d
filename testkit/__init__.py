"""What tests and benchmarks share: simulated streams, stand-ins, running workers."""
