"""Dataset cards: true counts, every caution, and nothing that names a person or quotes them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from subtext.corpora.card import markdown_table, write_card
from subtext.corpora.corpus import Corpus
from subtext.manifest import Manifest, build_manifest
from subtext.manifest.description import CardSection, Description


class Made(Corpus):
    description = Description(
        title="A made corpus",
        nature="constructed",
        licence="CC0",
        citation="nobody 2026",
        source="nowhere",
        labels="drawn",
        layout="guessed",
        verified=False,
        cautions=("Beware of the dog.",),
    )

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(self) -> Manifest:
        table = pd.DataFrame(
            {
                "id": list("abcdef"),
                "speaker": ["Zebulon", "Zebulon", "Zebulon", "Quenby", "Quenby", None],
                "transcript": ["xylophone secret", None, "b", "c", "d", "e"],
                "audio": ["a.wav", "a.wav", None, None, None, None],
                "verbal_polarity": [1, 1, -1, 0, None, 0],
                "visual_polarity": [1, -1, -1, 0, 1, 0],
                "split": ["train", "train", "train", "val", "test", None],
            }
        )
        soundfile.write(self.root / "a.wav", np.zeros(8000), 16000)
        return build_manifest(table, root=self.root, name="made")

    def card_sections(self, manifest: Manifest) -> Sequence[CardSection]:
        return [CardSection("Of this corpus alone", "A figure.", pd.DataFrame({"x": [0.5]}))]


def test_a_card_counts_what_is_there(tmp_path: Path) -> None:
    corpus = Made(tmp_path)
    path = write_card(corpus, corpus.build(), tmp_path / "out" / "card.md")
    tables = json.loads(path.with_suffix(".json").read_text())["tables"]
    assert tables["Splits"] == [
        {"part": "all", "segments": 6, "distinct speaker": 2},
        {"part": "train", "segments": 3, "distinct speaker": 1},
        {"part": "val", "segments": 1, "distinct speaker": 1},
        {"part": "test", "segments": 1, "distinct speaker": 1},
        {"part": "no split", "segments": 1, "distinct speaker": 0},
    ]
    labels = {(row["label"], row["value"]): row for row in tables["Labels"]}
    assert labels["incongruent", "True"]["all"] == 1
    assert labels["incongruent", "null"]["test"] == 1
    assert labels["verbal_polarity", "-1"]["train"] == 1
    streams = {row["part"]: row for row in tables["Streams"]}
    assert streams["all"] == {"part": "all", "segments": 6, "audio": 2, "transcript": 5}
    assert [row["segments"] for row in tables["Speakers"]] == [3, 2]
    assert [row["incongruent"] for row in tables["Speakers"]] == [0.333, 0.0]
    assert tables["Durations"][0]["longest"] == 0.5
    assert tables["Of this corpus alone"] == [{"x": 0.5}]


def test_a_card_says_what_to_beware_of_and_names_nobody(tmp_path: Path) -> None:
    corpus = Made(tmp_path)
    path = write_card(corpus, corpus.build(), tmp_path / "card.md")
    page = path.read_text()
    for said in ("# A made corpus", "CC0", "nobody 2026", "**unverified**: guessed", "- Beware of the dog."):
        assert said in page
    for file in (path, path.with_suffix(".json")):
        for secret in ("Zebulon", "Quenby", "xylophone", "a.wav"):
            assert secret not in file.read_text()


def test_folds_stand_in_for_splits_and_times_for_headers(tmp_path: Path) -> None:
    corpus = Made(tmp_path)
    table = (
        corpus.build().table.drop(columns="split").assign(fold=[0, 0, 1, 1, 2, 2], start=1.0, end=[2, 3, 4, 5, 6, 7])
    )
    manifest = build_manifest(table, root=tmp_path, name="made")
    tables = json.loads(write_card(corpus, manifest, tmp_path / "card.md").with_suffix(".json").read_text())["tables"]
    assert [row["part"] for row in tables["Splits"]] == ["all", "fold 0", "fold 1", "fold 2"]
    assert tables["Durations"][0]["longest"] == 6.0
    assert tables["Durations"][0]["median"] == 3.5


def test_recordings_that_cannot_be_opened_are_counted(tmp_path: Path) -> None:
    corpus = Made(tmp_path)
    manifest = corpus.build()
    (tmp_path / "a.wav").write_bytes(b"no sound")
    page = write_card(corpus, manifest, tmp_path / "card.md").read_text()
    assert "headers of 1 of 1 recordings; 1 could not be opened" in page


def test_markdown_tables_keep_their_shape() -> None:
    table = pd.DataFrame({"a": ["x|y", None], "b": [1234, 5], "c": [0.123456, float("nan")]})
    assert markdown_table(table).split("\n") == [
        "| a | b | c |",
        "|---|---|---|",
        "| x\\|y | 1,234 | 0.1235 |",
        "| - | 5 | - |",
    ]
