#!/usr/bin/env bash
# Strategies of fusion on the swapped pairs of RAVDESS, anchored and plain, and the person's own baseline, each trained in
# all eight folds. From the repository's root: bash experiments/fusion_ravdess_swap/make.sh DATA [SYSTEM ...]
# What is finished is left as it is. Systems, default all of them: those that are to be trained now, so that several cores or
# machines can share the work; what is there is compared.
set -euo pipefail
data=$1
posterior=(posterior posterior_session posterior_enrol)
anchored=(crossmodal concat late discrepancy gated lowrank tensor latent bottleneck shared_private)
plain=(crossmodal_plain concat_plain late_plain)
all=("${posterior[@]}" "${anchored[@]}" "${plain[@]}")
now=("${@:2}")
out=runs/fusion_ravdess_swap

train() { # NAME SEEDS OVERRIDE...
  for seed in $2; do
    [ -f "$out/$1/seed-$seed/metrics.json" ] || subtext-train experiment=ravdess_swap paths.data="$data" audit=false seed="$seed" \
      controls=false hydra.run.dir="$out/$1/seed-$seed" "${@:3}"
  done
}
five="0 1 2 3 4"
session=(encoder.visual.baseline=speaker encoder.prosody.baseline=speaker)
enrol=(encoder.visual.baseline=enrol encoder.prosody.baseline=enrol corpus.enrolment=true corpus.folder=$out/pairs_with_enrolment)
for system in "${now[@]:-${all[@]}}"; do
  case $system in
    posterior) train posterior "$five" fusion=posterior ;;
    # An actor's takes are of one session.
    posterior_session) train posterior_session 0 fusion=posterior "${session[@]}" 'controls=[permuted,permuted_persons]' ;;
    posterior_enrol) train posterior_enrol 0 fusion=posterior "${enrol[@]}" ;;
    crossmodal | concat | late) train "$system" "$five" fusion="$system" fusion.anchor=posterior ;;
    *_plain) train "$system" 0 fusion="${system%_plain}" fusion.anchor=null ;;
    *) train "$system" 0 fusion="$system" fusion.anchor=posterior ;;
  esac
done

there=()
for system in "${all[@]}"; do
  for run in "$out/$system"/seed-*; do
    [ -f "$run/metrics.json" ] && there+=("$system=$run")
  done
done
subtext-compare --reference posterior --within speaker --out runs/comparison_fusion_ravdess_swap "${there[@]}"
