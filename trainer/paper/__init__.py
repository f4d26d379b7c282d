"""AnomalyLLM as published (arXiv 2401.15123), for comparison: never in a live worker."""
