#!/usr/bin/env bash
# A check of the pipeline, not a result: ten families with random weights beside the light model, on the same studio clips.
# From the repository's root: bash experiments/vlm_pipeline/make.sh [WEIGHTS]
# WEIGHTS: a folder that holds real models under the families' names, for a machine with a GPU; without it tiny ones are
# made. What is finished is left as it is.
set -euo pipefail
weights=${1:-tiny}
runs=runs/vlm_pipeline/$(basename "$weights")
families=(idefics idefics2 idefics3 smolvlm video_llava llava_next_video llava_onevision qwen2_5_vl qwen3_vl internvl)
common=(corpus=studio corpus.size=tiny paths.runs=runs/vlm_pipeline)
asked=(frames.count=4 frames.face.detector=haar controls=true)
if [ "$weights" = tiny ]; then
  weights=work/vlm_tiny
  [ -d "$weights/internvl" ] || python tests/vlm/tiny_models.py "$weights"
  echo "Random weights: floor=0, so that their answers are scored although no word of them means anything."
  asked+=(vlm.device=cpu vlm.dtype=float32 floor=0)
fi

for stage in studio_encoders studio; do
  folder=runs/vlm_pipeline/$stage/tiny-0/seed-0
  [ -f "$folder/metrics.json" ] || subtext-train experiment=$stage "${common[@]}" audit=false controls=false
done
for family in "${families[@]}"; do
  folder=$runs/$family/seed-0
  [ -d "$weights/$family" ] || continue
  [ -f "$folder/metrics.json" ] || subtext-vlm score vlm=$family vlm.path="$weights/$family" "${common[@]}" "${asked[@]}" folder="$folder"
  systems+=("$family=$folder")
done
subtext-compare --no-cost --reference light --out $runs/comparison light=runs/vlm_pipeline/studio/tiny-0/seed-0 "${systems[@]}"
