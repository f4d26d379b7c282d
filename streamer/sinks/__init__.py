"""Sinks: consume `anomalies` and deliver incidents to Alertmanager, PagerDuty, Opsgenie, Slack, mail and webhooks.

What is wanted (the newest revision of each incident, `incidents.py`) and what a sink's server has been told are kept
side by side; a delivery is whatever brings the second to the first (`planning.py`).
"""
