"""Frames and mdocs -> a registry of tilt series with ids given once; validation; acquisition groups."""
