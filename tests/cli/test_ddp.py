"""trainer=ddp through the installed command: two processes learn what one does."""

import shlex
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from builders.tiny_runs import write_corpus

pytestmark = pytest.mark.slow

# Nothing is drawn that each process would draw for itself. The prosody encoder trains; it has a batch normalisation.
COMMON = shlex.split(
    "corpus=manifest corpus.path=corpus/tiny.csv ~encoder/visual encoder.text.embed_dim=8 encoder.text.dropout=0 "
    "encoder.prosody.input_dim=6 encoder.prosody.trainable=true encoder.prosody.dropout=0 "
    "encoder.prosody.hidden_dropout=0 encoder.prosody.augment=null fusion=concat fusion.dropout=0 task.head_dropout=0 "
    "task.modality_dropout=0 controls=false audit=false logger=none workers=0"
)
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "task.batch_size=4"]
ONE = ["task.batch_size=8"]


def run(folder: Path, name: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = Path(sysconfig.get_path("scripts")) / "subtext-train"
    return subprocess.run(
        [command, *COMMON, *overrides, f"hydra.run.dir={name}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def train(folder: Path, name: str, *overrides: str) -> Path:
    done = run(folder, name, *overrides)
    assert done.returncode == 0, done.stderr
    return folder / name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ddp")
    write_corpus(folder / "corpus")
    return folder


def test_the_gradients_of_the_first_step_are_those_of_one_process(place: Path) -> None:
    step = ["trainer.max_epochs=1", "+trainer.limit_train_batches=1", "trainer.gradient_clip_val=null"]
    # Plain descent at a rate of 1: what a step changes is the gradient.
    descent = ["task.optimizer._target_=torch.optim.SGD", "task.optimizer.weight_decay=0", "task.scheduler=null"]

    def weights(name: str, rate: float, *processes: str) -> dict[str, np.ndarray]:
        rates = [f"task.optimizer.lr={rate}", f"task.backbone_lr={rate}"]
        return load_file(train(place, name, *step, *descent, *rates, *processes) / "model.safetensors")

    before, one, two = weights("before", 0.0, *ONE), weights("one", 1.0, *ONE), weights("two", 1.0, *TWO)
    assert max(np.abs(one[name] - before[name]).max() for name in one) > 0.05, "there is no gradient"
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=0, atol=1e-5, err_msg=name)


def test_two_epochs_end_in_the_predictions_of_one_process(place: Path) -> None:
    tables = [
        pd.read_parquet(train(place, name, "trainer.max_epochs=2", *processes) / "predictions.parquet").set_index("id")
        for name, processes in (("one-long", ONE), ("two-long", TWO))
    ]
    one, two = (table[[column for column in table if column.startswith("prob_")]] for table in tables)
    assert list(one.index) == list(two.index)
    assert one["prob_incongruent"].std() > 0.05
    pd.testing.assert_frame_equal(one, two, rtol=0, atol=1e-3)


def test_a_process_without_a_modality_ends_them_all(place: Path, tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "corpus")
    for number, name in enumerate(pd.read_csv(path)["features"]):
        arrays = dict(np.load(path.parent / name))
        if number % 8:
            arrays.pop("prosody", None)
        np.savez(path.parent / name, **arrays)
    done = run(tmp_path, "rare", "trainer.max_epochs=1", *TWO)
    assert done.returncode == 2
    assert "ConfigError: a process has a batch without any prosody" in done.stderr
    assert "Traceback" not in done.stderr
