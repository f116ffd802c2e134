#!/usr/bin/env bash
# What the light model costs beside full-size vision-language models. No weights are needed, and no GPU.
# From the repository's root: bash experiments/vlm_cost/make.sh [FOLDER WITH THE FACE DETECTOR]
set -euo pipefail
models=${1:-models}
run=runs/vlm_cost/light
[ -f $run/metrics.json ] || subtext-train corpus=studio corpus.size=tiny encoder.visual.extractor.detector=yunet \
  paths.models="$models" trainer.max_epochs=1 controls=false audit=false logger=none hydra.run.dir=$run
python experiments/vlm_cost/run.py $run "$models"
