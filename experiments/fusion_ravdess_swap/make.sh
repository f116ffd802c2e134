#!/usr/bin/env bash
# Every strategy of fusion on the swapped pairs of RAVDESS, searched anew in each of the eight folds (nested), then trained
# with five fresh seeds and tested. From the repository's root: bash experiments/fusion_ravdess_swap/make.sh DATA [STRATEGY ...]
# What is finished is left as it is. Strategies, default all of them: those that are to be searched now, so that several
# cores or machines can share the work; what is there is compared.
set -euo pipefail
data=$1
all=(posterior concat crossmodal discrepancy late gated lowrank tensor latent bottleneck shared_private)
now=("${@:2}")
emotions='task.heads=[visual_emotion,vocal_emotion]'
encoders=(encoder.visual.hidden_dropout=0.5 encoder.prosody.hidden_dropout=0.5)
common=(experiment=ravdess_swap paths.data="$data" audit=false)

# The encoders of each fold learn the seven emotions of face and voice, as the posterior baseline does, and are frozen then.
stage=runs/fusion_ravdess_swap_encoders
for fold in 0 1 2 3 4 5 6 7; do
  [ -f $stage/folds/$fold/metrics.json ] || subtext-train "${common[@]}" "${encoders[@]}" fusion=none task=polarity "$emotions" \
    controls=false fold=$fold task.optimizer.lr=4.0e-3 trainer.max_epochs=40 name=fusion_ravdess_swap_encoders hydra.run.dir=$stage/folds/$fold
done

for fusion in "${now[@]:-${all[@]}}"; do
  case $fusion in crossmodal | latent | bottleneck) epochs=40 ;; *) epochs=10 ;; esac
  subtext-sweep --config-dir experiments/fusion_ravdess_swap/conf sweep=fusion_short "${common[@]}" "${encoders[@]}" encoders=$stage \
    encoder.visual.trainable=false encoder.prosody.trainable=false encoder.visual.dim=64 encoder.prosody.dim=64 \
    'task.heads=[incongruent,visual_emotion,vocal_emotion]' task.batch_size=128 trainer.max_epochs=$epochs fusion=$fusion \
    name=fusion_ravdess_swap-$fusion 'controls=[majority,permuted]' trials=4 refit_seeds=5 workers=0
done

there=()
for fusion in "${all[@]}"; do
  if [ -f runs/sweeps/fusion_ravdess_swap-$fusion/winner/metrics.json ]; then there+=("$fusion"); else echo "$fusion is not there yet"; fi
done
subtext-compare --reference posterior --within speaker --out runs/comparison_fusion_ravdess_swap \
  $(for fusion in "${there[@]}"; do echo "$fusion=runs/sweeps/fusion_ravdess_swap-$fusion"; done)
python experiments/fusion_ravdess_swap/limits.py --data "$data/ravdess_av_features" \
  $(for fusion in "${there[@]}"; do echo "$fusion=runs/sweeps/fusion_ravdess_swap-$fusion/winner"; done)
