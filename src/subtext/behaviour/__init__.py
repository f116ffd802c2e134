"""Behavioural measures computed from the recording of a session: turn-taking, faces, and voices that follow each other."""
