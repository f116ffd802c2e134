#!/usr/bin/env bash
# Writes the card and the audit of every corpus that the data folder holds: experiments/corpora/make.sh DATA MODELS
# Media are read where recordings are there; nothing of them is written.
set -euo pipefail
cd "$(dirname "$0")"
settings=("paths.data=$1" "paths.models=$2" paths.corpora=../../work/corpora)

describe() { # FOLDER CORPUS [--media] [SETTING ...]
  local folder=$1 corpus=$2
  shift 2
  local media=()
  if [ "${1-}" = --media ]; then media=(--media content) && shift; fi
  subtext-data card "$corpus" "${settings[@]}" "$@" --out "$folder/card.md"
  subtext-data audit "$corpus" "${settings[@]}" "$@" "${media[@]}" --out "$folder"
}

describe annomi annomi
describe crema_d crema_d --media
describe meld meld
describe mustard mustard
describe mustard_official mustard corpus.folds=official corpus.disjoint=[]
describe mustard_plus_plus mustard_plus_plus
describe ravdess ravdess --media
describe ravdess_swap ravdess_swap
describe collage collage --media
