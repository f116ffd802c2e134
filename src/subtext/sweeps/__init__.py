"""Optuna studies over configurations that Hydra composes."""
