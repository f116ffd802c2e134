"""Full vision-language models on the same clips, labels, splits and tables. Nothing here is imported by the light path."""
