"""Lightning's hints: not with every one of a run's trainers."""

import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import pytorch_lightning as pl

from subtext.model.fit import quiet_lightning


@pytest.mark.parametrize(("around", "hints"), [(quiet_lightning, 0), (nullcontext, 2)])
def test_where_slurm_is_installed_no_trainer_asks_for_srun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, around: type[AbstractContextManager[None]], hints: int
) -> None:
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with around():
            for _ in range(2):
                pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    assert len([str(warning.message) for warning in said if "srun" in str(warning.message)]) == hints
    assert hints or not said
