"""From recordings to one line a turn: what to predict on, the prediction, and how it is written."""
