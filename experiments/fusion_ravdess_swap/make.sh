#!/usr/bin/env bash
# Every strategy of fusion on the swapped pairs of RAVDESS, searched anew in each of the eight folds (nested), then trained
# with five fresh seeds and tested. From the repository's root: bash experiments/fusion_ravdess_swap/make.sh DATA
# What is finished is left as it is.
set -euo pipefail
data=$1
strategies=(posterior concat discrepancy late crossmodal gated tensor lowrank bottleneck latent shared_private)
for fusion in "${strategies[@]}"; do
  # The heads teach every strategy the seven emotions of face and voice, as the posterior baseline is taught them.
  subtext-sweep sweep=fusion experiment=ravdess_swap fusion=$fusion name=fusion_ravdess_swap-$fusion paths.data="$data" \
    'task.heads=[incongruent,visual_emotion,vocal_emotion]' task.batch_size=256 trainer.max_epochs=40 audit=false \
    'controls=[majority,permuted]' trials=5 refit_seeds=5 workers=0
done
subtext-compare --reference posterior --within speaker --out runs/comparison_fusion_ravdess_swap \
  $(for fusion in "${strategies[@]}"; do echo "$fusion=runs/sweeps/fusion_ravdess_swap-$fusion"; done)
