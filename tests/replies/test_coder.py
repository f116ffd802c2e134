"""The coder learns, keeps films apart, and is saved without pickle and without words."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from subtext.errors import ManifestError, WeightsError
from subtext.manifest import Manifest
from subtext.replies.coder import HEADS, BehaviourCoder, Choice, Head, choose, features, train_coder, votes_of
from subtext.replies.coder_check import HeadCheck, _between_people, check_coder
from subtext.replies.embedding import Embedder
from subtext.replies.exchanges import counsellor_turns

pytestmark = pytest.mark.usefixtures("few_buckets")


@pytest.fixture(scope="module")
def turns(dialogues: Manifest) -> pd.DataFrame:
    return counsellor_turns(dialogues)


@pytest.fixture(scope="module")
def coder(turns: pd.DataFrame, embed: Embedder) -> BehaviourCoder:
    return train_coder(turns, embed)


@pytest.fixture(scope="module")
def checks(turns: pd.DataFrame, embed: Embedder) -> dict[str, HeadCheck]:
    return check_coder(turns, embed, folds=3, n_bootstrap=200)


def test_it_codes_what_it_has_not_seen(coder: BehaviourCoder) -> None:
    found = coder.code(
        ["What would you like about the garden?", "It sounds like you feel the garden."], [None, "I am."]
    )
    assert found["behaviour"].tolist() == ["question", "reflection"]
    assert found["question"].iat[0] == "open"
    assert found["question"].iat[1] is None
    assert found["reflection"].iat[0] is None


def test_nothing_to_code(coder: BehaviourCoder) -> None:
    assert len(coder.code([], [])) == 0


def test_saved_and_loaded_it_codes_the_same(
    coder: BehaviourCoder, turns: pd.DataFrame, embed: Embedder, tmp_path: Path
) -> None:
    coder.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coder.json", "coder.safetensors"]
    again = BehaviourCoder.load(tmp_path, embed)
    replies, clients = turns["reply"].tolist(), turns["client"].tolist()
    pd.testing.assert_frame_equal(again.code(replies, clients), coder.code(replies, clients))
    for path in tmp_path.iterdir():
        assert b"smoking" not in path.read_bytes(), "the corpus's words are not in the coder"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "coder.json").unlink(), "is no behaviour coder"),
        (lambda folder: (folder / "coder.safetensors").write_bytes(b"\x80\x04K\x01."), "is no behaviour coder"),
        (lambda folder: (folder / "coder.json").write_text("[]"), "is no behaviour coder"),
        (lambda folder: edit(folder, text_model="another"), "with another text model"),
        (lambda folder: edit(folder, version=99), "version 99"),
    ],
)
def test_what_is_no_coder_is_said_in_a_line(
    coder: BehaviourCoder, embed: Embedder, tmp_path: Path, spoil: object, message: str
) -> None:
    coder.save(tmp_path)
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=message) as caught:
        BehaviourCoder.load(tmp_path, embed)
    assert "\n" not in str(caught.value)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "coder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_annotator_teaches(turns: pd.DataFrame, embed: Embedder) -> None:
    seen = features(turns["reply"].tolist(), turns["client"].tolist(), embed)
    votes = votes_of(turns, "behaviour")
    assert (votes.sum(axis=1) > 1).any()
    single = np.eye(votes.shape[1])[votes.argmax(axis=1)]
    soft, hard = (Head.fit(seen, v, HEADS["behaviour"], Choice()).log_probabilities(seen) for v in (votes, single))
    several = votes.sum(axis=1) > 1
    runner_up = np.argsort(votes, axis=1)[:, -2]
    rows = np.flatnonzero(several)
    assert soft[rows, runner_up[rows]].mean() > hard[rows, runner_up[rows]].mean()


def test_folds_keep_films_together_and_beat_nothing_by_memory(checks: dict[str, HeadCheck]) -> None:
    check = checks["behaviour"]
    assert check.coder.value is not None
    assert check.coder.value > 0.8
    assert check.coder.units == ("source",)
    assert check.difference.value == pytest.approx(check.coder.value - (check.reference.value or 0))
    assert check.predicted.notna().all(), "every turn has a prediction by a model that did not see its film"
    assert json.dumps(check.as_dict())


def test_a_film_s_labels_do_not_reach_its_own_predictions(
    turns: pd.DataFrame, embed: Embedder, checks: dict[str, HeadCheck]
) -> None:
    """Turning one film's codes round must leave its own predictions as they are, given the same folds."""
    film = (turns["source"] == "film 4").to_numpy()
    spoiled = turns.copy()
    for head, column in (("behaviour", "main_therapist_behaviour"),):
        columns = [f"{column}_votes_{code}" for code in HEADS[head]]
        spoiled.loc[film, columns] = turns.loc[film, columns].to_numpy()[:, ::-1]
    from unittest.mock import patch

    from sklearn.model_selection import StratifiedGroupKFold

    original = StratifiedGroupKFold.split

    def by_group_alone(self: StratifiedGroupKFold, X: object, y: np.ndarray, groups: np.ndarray) -> object:
        return original(self, X, np.zeros(len(y)), groups)

    with patch.object(StratifiedGroupKFold, "split", by_group_alone):
        before, after = (check_coder(t, embed, folds=3, n_bootstrap=100)["behaviour"] for t in (turns, spoiled))
    assert before.predicted[film].tolist() == after.predicted[film].tolist()
    assert before.predicted[~film].tolist() != after.predicted[~film].tolist()


def test_people_against_people_counts_each_ordered_pair_once() -> None:
    # Three say the first code and one the second; two others agree.
    votes = np.array([[3.0, 1.0], [0.0, 2.0]])
    between, alike = _between_people(votes, np.array([0, 1]))
    # Pairs of the first reply: 6 of 12 alike, 3 one way, 3 the other, so shares 1/2, 1/4, 1/4.
    f1 = [2 * 0.5 / (2 * 0.5 + 0.5), 2 * 1 / (2 * 1 + 0.5)]
    assert between.value == pytest.approx(np.mean(f1))
    against = [2 * 0.75 / (2 * 0.75 + 0.25), 2 * 1 / (2 * 1 + 0.25)]
    assert alike.value == pytest.approx(np.mean(against))


def test_choices_are_made_on_what_is_given(turns: pd.DataFrame, embed: Embedder) -> None:
    seen = features(turns["reply"].tolist(), turns["client"].tolist(), embed)
    choice = choose(seen, votes_of(turns, "behaviour"), HEADS["behaviour"], turns["source"].to_numpy(), 0)
    assert isinstance(choice, Choice)


def test_a_corpus_without_codes_is_told(turns: pd.DataFrame, embed: Embedder) -> None:
    with pytest.raises(ManifestError, match="no column 'main_therapist_behaviour_votes_reflection'"):
        train_coder(turns.drop(columns="main_therapist_behaviour_votes_reflection"), embed)


@pytest.mark.slow
def test_annomi_s_people_agree_as_the_reference_says(shared_data: Path) -> None:
    from subtext.corpora.annomi import AnnoMI

    turns = counsellor_turns(AnnoMI(data=shared_data / "annomi").build())
    votes = votes_of(turns, "behaviour")
    several = votes.sum(axis=1) > 1
    between, _ = _between_people(votes[several], votes[several].argmax(axis=1))
    assert several.sum() == 216
    assert round(between.value, 3) == 0.797
