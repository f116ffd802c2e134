"""Tiny models, made once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives a family's tiny model folder; who changes it copies it first."""
    from builders.tiny_models import write_tiny

    root, made = tmp_path_factory.mktemp("vlm"), dict[str, Path]()

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = write_tiny(family, root / family)
        return made[family]

    return folder
