"""subtext-sweep with an objective that trains nothing: as a process, or here where that is not what is tested."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from builders.commands import command_here
from subtext.sweeps.storage import open_storage
from subtext.sweeps.study import counts

FAKES = Path(__file__).parent
COMMON = ["corpus=manifest", "corpus.path=none.csv", "objective=fake_objective.FakeObjective", "refit_seeds=0"]


def sweep_here(*arguments: str, folder: Path, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run the command in this process, which has imported all that it needs; gives the exit code and what was said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FAKES)
        for key, value in {"FAKE_RAN": str(folder / "ran.jsonl"), **(env or {})}.items():
            patch.setenv(key, value)
        done = command_here("sweep", *arguments, folder=folder)
    return done.code, done.said


class Commands:
    """Starts subtext-sweep on a corpus that is never read.

    Args:
        folder: where it is started, and where `conf/sweep/mine.yaml` and `six.yaml` are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran = folder / "ran.jsonl"
        (folder / "conf" / "sweep").mkdir(parents=True)
        (folder / "conf" / "sweep" / "mine.yaml").write_text(
            "# @package _global_\n"
            "space:\n"
            "  task.optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}\n"
            "  encoder.text.dim: {choices: [16, 32]}\n"
        )
        # Six points, three of them with late.
        (folder / "conf" / "sweep" / "six.yaml").write_text(
            "# @package _global_\n"
            "defaults: [override /sampler: grid]\n"
            "name: mine-none\n"
            "space:\n"
            "  fusion: {choices: [late, concat]}\n"
            "  task.optimizer.lr: {choices: [0.001, 0.002, 0.003]}\n"
        )

    def _arguments(self, given: tuple[str, ...]) -> list[str]:
        return ["--config-dir", "conf", "sweep=mine", *COMMON, "max_failures=5", *given]

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a process."""
        return subprocess.Popen(
            [sys.executable, "-m", "subtext.cli.sweep", *self._arguments(arguments)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(FAKES), "FAKE_RAN": str(self.ran), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, **env: str) -> str:
        """Run a process to the end; gives what was said."""
        process = self.start(*arguments, env=env)
        out, err = process.communicate(timeout=240)
        return self._checked(process.returncode, out + err, code)

    def here(self, *arguments: str, code: int = 0, **env: str) -> str:
        """Run in this process to the end; gives what was said."""
        return self._checked(*sweep_here(*self._arguments(arguments), folder=self.folder, env=env), code)

    @staticmethod
    def _checked(ended: int, said: str, code: int) -> str:
        assert ended == code, said
        assert "Traceback" not in said, said
        return said

    def runs(self) -> list[dict[str, Any]]:
        """What the objective noted: one entry each time that it ran."""
        return [json.loads(line) for line in self.ran.read_text().splitlines()] if self.ran.exists() else []

    def trials(self, storage: str | None) -> list[FrozenTrial]:
        """The trials that count, as they stand in a storage."""
        kept = open_storage(storage, self.folder / "runs" / "sweeps" / "mine-none", "mine-none")
        study = optuna.load_study(study_name="mine-none", storage=kept.optuna)
        return [trial for trial in study.get_trials() if counts(trial)]
