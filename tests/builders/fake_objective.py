"""An objective that trains nothing: what it does is said by the learning rate that it is given."""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna


class FakeObjective:
    """Scores a trial by `task.optimizer.lr` (best at 0.001), and notes that it ran in the folder FAKE_RAN.

    What else happens is said by the environment: FAKE_KILL ends the process at that many lines of the notes, FAKE_FAIL
    names what every trial of fusion=late fails of, FAKE_SLEEP makes it last, FAKE_WAIT until that file is there.
    """

    def __init__(
        self, settings: Mapping[str, Any], *, objectives: Sequence[str], seeds: Sequence[int], epochs: int
    ) -> None:
        self.objectives, self.seeds, self.epochs = objectives, seeds, epochs

    def prepare(self) -> None:
        pass

    def __call__(self, trial: optuna.Trial, settings_of: Callable[[int], Mapping[str, Any]]) -> tuple[float, ...]:
        settings = settings_of(self.seeds[0])
        ran = Path(os.environ["FAKE_RAN"])
        with ran.open("a") as notes:
            notes.write(json.dumps({"number": trial.number, "params": trial.params, "pid": os.getpid()}) + "\n")
        if (kill := os.environ.get("FAKE_KILL")) and len(ran.read_text().splitlines()) in json.loads(kill):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ.get("FAKE_SLEEP", 0)))
        while (wait := os.environ.get("FAKE_WAIT")) and not Path(wait).exists():
            time.sleep(0.05)
        if settings["fusion"]["_target_"].endswith("LateFusion"):
            match os.environ.get("FAKE_FAIL"):
                case "memory":
                    raise MemoryError("no more")
                case "nan":
                    return tuple(float("nan") for _ in self.objectives)
                case "infinite":
                    return tuple(float("inf") for _ in self.objectives)
                case "pruned":
                    trial.report(0.1, 0)
                    raise optuna.TrialPruned
                case "always killed":
                    os.kill(os.getpid(), signal.SIGKILL)
        figures = {
            "selection": 1 - 100 * abs(settings["task"]["optimizer"]["lr"] - 1e-3),
            "flops_per_clip": float(settings["encoder"]["text"]["dim"]),
        }
        return tuple(figures[name] for name in self.objectives)
