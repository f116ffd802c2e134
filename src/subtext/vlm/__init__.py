"""Full vision-language models on the same clips and tables. Nothing here is imported by the light path."""
