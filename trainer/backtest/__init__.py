"""Replays recorded series through the detector's own code and measures how well it did."""
