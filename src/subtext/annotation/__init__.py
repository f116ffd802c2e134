"""Annotation: the scheme as data, rater files, agreement, aggregation, and the tools that raters work in."""
