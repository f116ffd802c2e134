#!/usr/bin/env bash
# Replies by a small language model on AnnoMI, and how they are measured. From the repository's root, after
# make offline-lm: bash experiments/replies/make.sh DATA MODELS
# What is finished is left as it is, and generation goes on where it was.
set -euo pipefail
data=$1 models=$2
out=work/replies model=work/models/smollm2-135m
here=experiments/replies
table=$out/annomi.parquet

[ -f $table ] || subtext-data split annomi paths.data="$data" --by source --label mi_quality --shares 0.6 0.1 0.3 --seed 0 --out $table
[ -f $out/validation/validation.png ] || subtext-replies validate annomi paths.data="$data" --out $out/validation
# Coder and adapters learn from films that no reply below is measured on.
[ -f $out/coder/coder.json ] || subtext-replies coder $table --split train,val --out $out/coder
for seed in 0 1 2; do
  [ -f $out/tuned/$seed/tuning.json ] || subtext-replies tune $table --split train --model $model --replies 400 --seed $seed --out $out/tuned/$seed
done

turns=($table --split test --limit 96 --shortest 5)
subtext-replies generate "${turns[@]}" --human --out $out/counsellor.jsonl
subtext-replies generate "${turns[@]}" --model $model --out $out/plain.jsonl
subtext-replies generate "${turns[@]}" --model $model --hint placebo --out $out/placebo.jsonl
for seed in 0 1 2; do
  subtext-replies generate "${turns[@]}" --model $model --adapter $out/tuned/$seed --seed $seed --system tuned --out $out/tuned_$seed.jsonl
done
subtext-replies measure $out/{counsellor,plain,placebo,tuned_0,tuned_1,tuned_2}.jsonl --coder $out/coder --out $out/measured.parquet
for reference in plain counsellor; do
  subtext-replies compare $out/measured.parquet --reference $reference --validation $out/validation/validation.json --out $out/against_$reference
done

# Told of the incongruence: only where there are faces and voices. Drawn ones here, and a model trained on them.
studio=(corpus=studio corpus.size=tiny)
[ -f $out/studio/predictions.parquet ] || subtext-train "${studio[@]}" paths.models="$models" trainer.max_epochs=10 audit=false controls=false workers=1 seed=0 hydra.run.dir=$out/studio
turns=(studio corpus.size=tiny --split test)
subtext-replies generate "${turns[@]}" --model $model --out $out/studio_plain.jsonl
subtext-replies generate "${turns[@]}" --model $model --hint placebo --out $out/studio_placebo.jsonl
subtext-replies generate "${turns[@]}" --model $model --hint told --predictions $out/studio/predictions.parquet --out $out/studio_told.jsonl
subtext-replies measure $out/studio_{plain,placebo,told}.jsonl --coder $out/coder --out $out/studio_measured.parquet
subtext-replies compare $out/studio_measured.parquet --reference studio_placebo --validation $out/validation/validation.json --out $out/against_studio_placebo

# Tables of figures only: replies and what clients said stay in work/.
cp $out/validation/{validation.md,validation.csv,coder.csv,validation.png} $here/
for name in plain counsellor studio_placebo; do cp $out/against_$name/comparison.csv $here/against_$name.csv; done
