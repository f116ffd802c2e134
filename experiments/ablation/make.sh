#!/usr/bin/env bash
# What parts of the recipe matter, on the collage: one thing changed at a time, three seeds each. Needs the
# encoder stage of experiments/fusion_collage, whose committed winners it varies. From the repository's root: bash experiments/ablation/make.sh DATA MODELS
# What is finished is left as it is.
set -euo pipefail
data=$1 models=$2
common=(paths.data="$data" paths.models="$models" audit=false controls=false workers=1)

run() { # NAME WINNER SEEDS OVERRIDES...
  local name=$1 winner=$2 seeds=$3
  shift 3
  for seed in $seeds; do
    local folder=runs/ablation/$name/seed-$seed
    [ -f "$folder/metrics.json" ] || subtext-train --config-dir experiments/fusion_collage +winners=$winner "${common[@]}" seed=$seed name=ablation-$name "$@" hydra.run.dir=$folder
  done
}
seeds="11 12 13"
run base crossmodal "$seeds"
run words_face crossmodal "$seeds" encoder.prosody=null
run words_voice crossmodal "$seeds" encoder.visual=null
run face_voice crossmodal "$seeds" encoder.text=null
run modality_dropout_0 crossmodal "$seeds" task.modality_dropout=0
run modality_dropout_30 crossmodal "$seeds" task.modality_dropout=0.3
run no_polarity_heads crossmodal "$seeds" 'task.heads=[incongruent,vocal_incongruent,type]'
run swap_0 crossmodal "$seeds" task.swap=0
run alignment_0 discrepancy "$seeds" fusion.alignment=0
run alignment_10 discrepancy "$seeds" fusion.alignment=0.1
# The face encoder goes on learning, from the same start.
run visual_trained crossmodal "$seeds" encoder.visual.trainable=true
# What is left when streams are missing, of every seed; when one is spoiled, of the first: streams are extracted anew.
dropout=(base modality_dropout_0 modality_dropout_30)
for name in "${dropout[@]}"; do
  for seed in $seeds; do subtext-robustness runs/ablation/$name/seed-$seed --conditions drop --workers 0; done
  subtext-robustness runs/ablation/$name/seed-11 --workers 0
done
systems=(base words_face words_voice face_voice modality_dropout_0 modality_dropout_30 no_polarity_heads swap_0 visual_trained)
subtext-compare --no-cost --reference base --out runs/comparison_ablation $(for s in "${systems[@]}"; do echo "$s=runs/ablation/$s"; done)
subtext-compare --no-cost --reference alignment_0 --out runs/comparison_ablation_alignment alignment_0=runs/ablation/alignment_0 alignment_10=runs/ablation/alignment_10
subtext-compare --no-cost --reference base --out runs/comparison_ablation_spoiled $(for s in "${dropout[@]}"; do echo "$s=runs/ablation/$s/seed-11"; done)
