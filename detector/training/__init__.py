"""When a stream asks for training, and for what."""
