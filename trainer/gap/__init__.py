"""Making of the gap head: examples of many families of streams, learning, cross-validation by family."""
