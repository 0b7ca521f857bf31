"""Submitters, the script writer and the state protocol of attempts."""
