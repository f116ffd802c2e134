"""Test data and runs that several tests share."""
