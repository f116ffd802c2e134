"""The one room that knows what a run folder is: training, evaluation, comparison, cost and robustness of runs."""
