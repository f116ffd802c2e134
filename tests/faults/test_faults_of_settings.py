"""Settings that cannot be used: refused in one line, before anything is written."""

from pathlib import Path

import pytest

from builders.commands import command_here


@pytest.mark.parametrize(("given", "named"), [("cv=1", "cv"), ("corpus.path=null", "corpus.path")])
def test_a_setting_that_cannot_be_used_is_refused(given: str, named: str, tmp_path: Path) -> None:
    command_here("train", "corpus=manifest", given, folder=tmp_path).refused(named, apart_from=("runs",))
