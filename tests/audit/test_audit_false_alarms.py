"""Clean studio corpora: at most two alarms over twenty seeds.

Twenty are audited with the recording conditions that their plans draw, without rendering; two are rendered and decoded.
`benchmarks/audit_false_alarms.py` renders twenty, which takes minutes.
"""

from pathlib import Path

import pandas as pd
import pytest

from subtext.audit import audit_corpus, audit_training
from subtext.corpora.studio import Studio
from subtext.features.index import INDEX_COLUMNS, FeatureIndex

CONDITIONS = ["duration", "face_scale", "light", "contrast", "warmth", "picture_noise", "sound_noise", "gain_db"]


@pytest.mark.slow
def test_twenty_planned_corpora_raise_two_alarms_at_most(tmp_path: Path) -> None:
    nothing = FeatureIndex(pd.DataFrame(columns=list(INDEX_COLUMNS)), {})
    alarms = []
    for seed in range(20):
        corpus = Studio(tmp_path / str(seed), seed=seed, size="demo")
        plan = corpus.plan()
        manifest = corpus._manifest(plan)
        described = manifest.with_table(manifest.table.assign(**{name: plan[name] for name in CONDITIONS}))
        found = audit_training(described, CONDITIONS, nothing)
        assert set(CONDITIONS) <= set(found.predictability["variable"])
        alarms += [(seed, finding.subject, finding.label) for finding in found.alarms]
    assert len(alarms) <= 2, alarms


@pytest.mark.slow
def test_rendered_corpora_raise_no_alarm(tmp_path: Path) -> None:
    for seed in (1, 2):
        manifest = Studio(tmp_path / str(seed), seed=seed, size="tiny", workers=0, fps=4).build()
        found = audit_corpus(manifest, media="content")
        assert {"loudness", "brightness", "face_height", "all together"} <= set(found.predictability["variable"])
        assert found.alarms == ()
