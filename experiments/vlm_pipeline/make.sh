#!/usr/bin/env bash
# A check of the pipeline, not a result: ten families with random weights beside the light model, on the same studio clips.
# From the repository's root: bash experiments/vlm_pipeline/make.sh [WEIGHTS [TUNED FAMILY]]
# WEIGHTS: a folder that holds real models under the families' names, for a machine with a GPU; without it tiny ones are
# made. What is finished is left as it is.
set -euo pipefail
weights=${1:-tiny}
runs=runs/vlm_pipeline/$(basename "$weights")
families=(idefics idefics2 idefics3 smolvlm video_llava llava_next_video llava_onevision qwen2_5_vl qwen3_vl internvl)
common=(corpus=studio corpus.size=tiny paths.runs=runs/vlm_pipeline)
learnt=()
brief=()
asked=(frames.count=4 frames.face.detector=haar controls=true)
if [ "$weights" = tiny ]; then
  weights=work/vlm_tiny
  [ -d "$weights/internvl" ] || python tests/builders/tiny_models.py "$weights"
  echo "Random weights: floor=0, so that their answers are scored although no word of them means anything."
  asked+=(vlm.device=cpu vlm.dtype=float32 floor=0)
  brief=("heads=[incongruent]" controls=false)
  learnt=(tune.steps=20 tune.every=10 tune.batch_size=4 tune.learning_rate=0.01)
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
# Fine-tuned in three arms that differ in their labels alone, three seeds each: one family, since each costs nine trainings.
tuned=${2:-smolvlm}
for arm in incongruence polarity placebo; do
  for seed in 0 1 2; do
    folder=$runs/$tuned-tuned/$arm/seed-$seed
    [ -d "$folder/adapter" ] || subtext-vlm tune vlm=$tuned vlm.path="$weights/$tuned" "${common[@]}" "${asked[@]}" "${learnt[@]}" labels=$arm seed=$seed tune.folder="$folder"
    scored=$runs/$tuned-$arm/seed-$seed
    [ -f "$scored/metrics.json" ] || subtext-vlm score vlm=$tuned vlm.path="$weights/$tuned" vlm.adapter="$folder/adapter" "${common[@]}" "${asked[@]}" "${brief[@]}" seed=$seed folder="$scored"
  done
  systems+=("$tuned-$arm=$runs/$tuned-$arm")
done
subtext-compare --reference light --out $runs/comparison light=runs/vlm_pipeline/studio/tiny-0/seed-0 "${systems[@]}"
