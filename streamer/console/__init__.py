"""`anomalyllm console`: pages for a browser. Starlette serves them and what they show; nothing is loaded from elsewhere."""
