"""What a bench may say instead of a figure."""

from __future__ import annotations


class NotMeasured(Exception):
    """Why a figure cannot be had here, as a sentence."""
