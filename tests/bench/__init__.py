"""Figures of speed, size and sturdiness: ``python -m tests.bench [FIGURE ...]``. Not part of the test suite."""
