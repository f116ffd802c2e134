"""Clean studio corpora, decoded: at most two alarms over twenty seeds."""

from pathlib import Path

import pytest

from subtext.corpora.audit import audit_corpus
from subtext.corpora.studio import Studio


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_clean_corpora_raise_two_alarms_at_most(tmp_path: Path) -> None:
    alarms = []
    for seed in range(20):
        manifest = Studio(tmp_path / str(seed), seed=seed, size="tiny", workers=0).build()
        found = audit_corpus(manifest, media="content")
        assert {"loudness", "brightness", "all together"} <= set(found.predictability["variable"])
        alarms += [(seed, finding.subject, finding.label) for finding in found.alarms]
    assert len(alarms) <= 2, alarms
