"""Subtext: find where words, face and voice disagree in a recorded conversation."""

__version__ = "0.1.0"
