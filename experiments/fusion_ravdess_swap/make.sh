#!/usr/bin/env bash
# Every strategy of fusion on the swapped pairs of RAVDESS, searched anew in each of the eight folds (nested), then trained
# with five fresh seeds and tested. From the repository's root: bash experiments/fusion_ravdess_swap/make.sh DATA [STRATEGY ...]
# What is finished is left as it is. Strategies, default all of them: those that are to be searched now, so that several
# cores or machines can share the work; the comparison is made once all are there.
set -euo pipefail
data=$1
all=(posterior concat crossmodal discrepancy late gated lowrank tensor latent bottleneck shared_private)
now=("${@:2}")
for fusion in "${now[@]:-${all[@]}}"; do
  # The heads teach every strategy the seven emotions of face and voice, as the posterior baseline is taught them.
  subtext-sweep --config-dir experiments/fusion_ravdess_swap/conf sweep=fusion_short experiment=ravdess_swap fusion=$fusion \
    name=fusion_ravdess_swap-$fusion paths.data="$data" 'task.heads=[incongruent,visual_emotion,vocal_emotion]' \
    task.batch_size=128 trainer.max_epochs=20 audit=false 'controls=[majority,permuted]' trials=4 refit_seeds=5 workers=0
done
for fusion in "${all[@]}"; do
  [ -f runs/sweeps/fusion_ravdess_swap-$fusion/winner/seed-5/metrics.json ] || { echo "$fusion is not there yet" && exit; }
done
subtext-compare --reference posterior --within speaker --out runs/comparison_fusion_ravdess_swap \
  $(for fusion in "${all[@]}"; do echo "$fusion=runs/sweeps/fusion_ravdess_swap-$fusion"; done)
python experiments/fusion_ravdess_swap/limits.py --data "$data/ravdess_av_features" \
  $(for fusion in "${all[@]}"; do echo "$fusion=runs/sweeps/fusion_ravdess_swap-$fusion/winner"; done)
