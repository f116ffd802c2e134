#!/usr/bin/env bash
# Every strategy of fusion on the swapped pairs of RAVDESS, searched anew in each of the eight folds (nested), then trained
# with five fresh seeds and tested. From the repository's root: bash experiments/fusion_ravdess_swap/make.sh DATA [STRATEGY ...]
# What is finished is left as it is. Strategies, default all of them: those that are to be searched now, so that several
# cores or machines can share the work; what is there is compared.
# face and voice are controls: concat of one stream.
set -euo pipefail
data=$1
fusions=(posterior concat crossmodal discrepancy late gated lowrank tensor latent bottleneck shared_private)
all=("${fusions[@]}" face voice)
now=("${@:2}")
common=(experiment=ravdess_swap paths.data="$data" audit=false)

# The encoders of each fold learn the seven emotions of face and voice, as the posterior baseline does, and are frozen then.
stage=runs/fusion_ravdess_swap_encoders
for fold in 0 1 2 3 4 5 6 7; do
  [ -f $stage/folds/$fold/metrics.json ] || subtext-train "${common[@]}" encoder.visual.hidden_dropout=0.5 encoder.prosody.hidden_dropout=0.5 \
    fusion=none task=polarity 'task.heads=[visual_emotion,vocal_emotion]' controls=false fold=$fold task.optimizer.lr=4.0e-3 \
    trainer.max_epochs=40 name=fusion_ravdess_swap_encoders hydra.run.dir=$stage/folds/$fold
done

search() { # NAME EPOCHS OVERRIDE...
  subtext-sweep --config-dir experiments/fusion_ravdess_swap/conf sweep=fusion_short "${common[@]}" encoders=$stage task.batch_size=128 \
    trainer.max_epochs=$2 name=fusion_ravdess_swap-$1 'controls=[majority,permuted]' pruner=median trials=4 refit_seeds=5 workers=0 "${@:3}"
}
face=(encoder.visual.hidden_dropout=0.5 encoder.visual.trainable=false encoder.visual.dim=64)
voice=(encoder.prosody.hidden_dropout=0.5 encoder.prosody.trainable=false encoder.prosody.dim=64)
both=("${face[@]}" "${voice[@]}" 'task.heads=[incongruent,visual_emotion,vocal_emotion]')
for system in "${now[@]:-${all[@]}}"; do
  case $system in
    face) search face 10 fusion=concat "${face[@]}" encoder.prosody=null 'task.heads=[incongruent,visual_emotion]' ;;
    voice) search voice 10 fusion=concat "${voice[@]}" encoder.visual=null 'task.heads=[incongruent,vocal_emotion]' ;;
    crossmodal | latent | bottleneck) search "$system" 40 fusion="$system" "${both[@]}" ;;
    *) search "$system" 10 fusion="$system" "${both[@]}" ;;
  esac
done

there() { # SUFFIX NAME...: NAME=FOLDER of those that are finished
  for system in "${@:2}"; do
    local folder=runs/sweeps/fusion_ravdess_swap-$system
    if [ -f "$folder/winner/metrics.json" ]; then echo "$system=$folder$1"; else echo "$system is not there yet" >&2; fi
  done
}
subtext-compare --reference posterior --within speaker --out runs/comparison_fusion_ravdess_swap $(there "" "${all[@]}")
python experiments/fusion_ravdess_swap/limits.py --data "$data/ravdess_av_features" $(there /winner "${fusions[@]}")
