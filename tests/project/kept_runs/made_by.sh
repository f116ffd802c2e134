#!/usr/bin/env bash
# How the folders beside this file were made, at commit 8481b51 (`begun`: at cdf21e0, killed before its first epoch).
# They are tiny, of constructed data, and without media and checkpoints. Machine paths in run.json and sweep.json were
# cut. They are not made again: they stand for what users have on their disks.
set -euo pipefail
python -c 'from pathlib import Path; from tiny_runs import write_corpus; write_corpus(Path("corpus"))'
common=(
  encoder.visual=null encoder.text.dim=16 encoder.prosody.dim=16 encoder.prosody.channels=8 encoder.prosody.layers=1
  encoder.prosody.trainable=true "task.heads=[incongruent,verbal_polarity,vocal_polarity]" task.batch_size=16
  trainer.accelerator=cpu logger=none workers=0 paths.runs=. paths.work=work paths.features=features
)
streams=(
  corpus=manifest corpus.path=corpus/tiny.csv corpus.name=tiny encoder.text.embed_dim=8 encoder.prosody.input_dim=6
  trainer.max_epochs=3
)
subtext-train "${common[@]}" "${streams[@]}" hydra.run.dir=streams fusion=crossmodal fusion.queries=2 audit=true
subtext-train "${common[@]}" "${streams[@]}" hydra.run.dir=posterior fusion=posterior audit=false \
  "controls=[majority,text,posterior_product]"
# sweep/kept: space: {fusion: {choices: [late, posterior]}, task.optimizer.lr: {low: 1.0e-3, high: 1.0e-2, log: true}}
subtext-sweep --config-dir conf "${common[@]}" "${streams[@]}" sweep=kept name=sweep trials=4 refit_seeds=0 sampler=tpe
subtext-train "${common[@]}" corpus=studio corpus.size=tiny corpus.workers=0 corpus.width=160 corpus.height=120 \
  corpus.fps=5 trainer.max_epochs=2 hydra.run.dir=recordings fusion=posterior "controls=[majority]" audit=false
# clip.mp4: talking_face.write_talking_face(Path("clip.mp4"), seconds=2.0)
subtext-predict recordings clip.mp4 --transcript "I am fine, really." >recordings/lines.jsonl
