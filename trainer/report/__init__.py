"""What a replay has found, for people: one file for a browser, with pictures, alerts and what was learnt."""
