"""Readers and writers, one module per foreign format."""
