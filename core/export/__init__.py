"""RELION scheme and plain script."""
