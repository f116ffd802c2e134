#!/usr/bin/env bash
# Every strategy of fusion on the collage, searched with the same number of trials, refitted with five fresh seeds.
# From the repository's root: bash experiments/fusion_collage/make.sh DATA MODELS; what is finished is left as it is.
set -euo pipefail
data=$1 models=$2
common=(paths.data="$data" paths.models="$models" corpus.n_train=3000 audit=false)

# The face and voice encoders are trained once and frozen: what differs below is the fusion and its training.
encoders=runs/collage_3000_encoders/corpus-0/seed-0
[ -f $encoders/metrics.json ] || subtext-train experiment=collage_encoders name=collage_3000_encoders "${common[@]}" workers=1

strategies=(posterior concat late gated tensor lowrank crossmodal bottleneck latent discrepancy shared_private)
for fusion in "${strategies[@]}"; do
  # The model-free controls for all; what has to be trained anew, for one strategy only.
  controls='[majority,posterior_product,permuted]'
  [ $fusion = crossmodal ] && controls='[majority,metadata,visual,text,prosody,visual+text,posterior_product,permuted,shuffled]'
  subtext-sweep sweep=fusion experiment=collage fusion=$fusion name=fusion_collage-$fusion "${common[@]}" \
    encoders=$encoders trainer.max_epochs=10 pruner=median trials=8 refit_seeds=5 workers=0 "controls=$controls"
done
subtext-compare --reference posterior --out runs/comparison_fusion_collage \
  $(for fusion in "${strategies[@]}"; do echo "$fusion=runs/sweeps/fusion_collage-$fusion"; done)
