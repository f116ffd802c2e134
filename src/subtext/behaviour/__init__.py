"""Measures of behaviour from a session's turns and recordings: turn-taking, faces, and vocal synchrony."""
