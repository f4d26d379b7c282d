"""Data plane: topic contracts, Kafka in and out, the grid, Redis windows, the embedded stack, the root command."""
