"""Records of `metrics` to windows in Redis and the `windows` topic."""
