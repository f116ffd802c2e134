"""A sweep over folds: each fold is tested with the settings that its own study chose, and with no other."""

import contextlib
import dataclasses
import json
from pathlib import Path

import optuna
import pandas as pd
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from builders.sweep_commands import sweep_here
from builders.tiny_runs import write_corpus
from subtext.sweeps import nested

pytestmark = pytest.mark.usefixtures("undrawn")

FOLDS = 3


@pytest.mark.slow  # six trials and three runs, each of a second or two
def test_each_fold_is_trained_and_tested_with_the_winner_of_its_own_study(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", sizes=(60, 30, 30))
    command = [
        *("sweep=fusion", "corpus=manifest", f"corpus.path={corpus}", "workers=0"),
        *("encoder.visual=null", "encoder.text.embed_dim=8", "encoder.prosody.input_dim=6"),
        *("encoder.prosody.trainable=true", "task.heads=[incongruent,verbal_polarity,vocal_polarity]"),
        *("fusion=concat", "trainer.max_epochs=1", f"cv={FOLDS}", "trials=2", "refit_seeds=1", "name=nested"),
        *("controls=false", "audit=false", f"paths.work={tmp_path / 'work'}", f"paths.runs={tmp_path / 'runs'}"),
    ]

    code, said = sweep_here(*command, folder=tmp_path)
    assert code == 0, said

    folder = tmp_path / "runs" / "sweeps" / "nested"
    winners = json.loads((folder / "winner" / "winners.json").read_text())
    assert winners.keys() == {str(fold) for fold in range(FOLDS)}
    for fold in range(FOLDS):
        (journal,) = (folder / "folds" / str(fold)).glob("*.journal")
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.load_study(study_name=f"nested-fold-{fold}", storage=storage)
        assert len(study.trials) == 2
        assert winners[str(fold)]["values"] == [study.best_value]
        settings = yaml.safe_load((folder / "winner" / "seed-1" / "folds" / str(fold) / "config.yaml").read_text())
        assert (settings["cv"], settings["fold"], settings["seed"]) == (FOLDS, fold, 1)
        assert settings["fusion"]["hidden"] == study.best_params["concat.hidden"]
        assert settings["task"]["optimizer"]["lr"] == study.best_params["task.optimizer.lr"]
    pooled = pd.read_parquet(folder / "winner" / "seed-1" / "predictions.parquet")
    tested = pooled[pooled["split"] == "test"]
    assert sorted(tested["id"]) == sorted(pd.read_csv(corpus)["id"])
    assert set(tested["fold"]) == set(range(FOLDS))

    # The same command finds nothing left to do.
    code, said = sweep_here(*command, folder=tmp_path)
    assert code == 0, said
    assert "seed 1" not in said


def test_a_single_name_for_several_winners_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", sizes=(12, 6, 6))
    command = [
        *("corpus=manifest", f"corpus.path={corpus}", "fusion=concat"),
        *("encoder.visual=null", f"cv={FOLDS}", "save_as=best", f"paths.runs={tmp_path / 'runs'}"),
    ]

    code, said = sweep_here(*command, folder=tmp_path)

    assert code == 2
    assert "a winner in every fold" in said


@dataclasses.dataclass(frozen=True)
class FakePlan:
    name: str
    seeds: tuple[int, ...] = (0,)

    def open(self) -> None: ...


@pytest.mark.parametrize("free", [True, False])
def test_when_a_fold_has_another_winner_all_folds_are_trained_again(
    free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = {"trial": 1, "params": {"lr": 0.1}, "values": [0.5]}
    place = contextlib.nullcontext(free)
    monkeypatch.setattr(nested, "alone", lambda sweep: place)
    monkeypatch.setattr(nested, "run_sweep", lambda plan, **options: None)
    monkeypatch.setattr(nested, "_best", lambda plan: best)
    monkeypatch.setattr(nested, "_refit", lambda plans, base, folder, seeds: (folder / "seed-1").mkdir(exist_ok=True))

    def run() -> None:
        nested.run_nested(lambda folder, fold: FakePlan("n"), dict, tmp_path, folds=2, refit_seeds=1, save_as=None)

    run()
    if not free:  # another session refits
        assert not (tmp_path / "winner").exists()
        return
    run()
    assert not (tmp_path / "winner-former-1").exists()
    best = best | {"trial": 2, "values": [0.6]}
    run()
    assert (tmp_path / "winner-former-1" / "seed-1").is_dir()
    assert json.loads((tmp_path / "winner" / "winners.json").read_text()) == {"0": best, "1": best}
