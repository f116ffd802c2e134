"""Decode video and audio, find and track faces, crop them, measure frame-level prosody."""
