"""What contract tests are about: the files of a group of the configuration, installed plug-ins' among them."""

from pathlib import Path

from subtext.core.composition import conf_folders


def configured(group: str) -> dict[str, Path]:
    """Choice of a group -> its file, as Hydra finds it: this package's own first."""
    return {path.stem: path for folder in reversed(conf_folders()) for path in sorted((folder / group).glob("*.yaml"))}
