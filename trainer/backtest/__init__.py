"""Replays recorded series through the detector's own code and says how well it did."""
