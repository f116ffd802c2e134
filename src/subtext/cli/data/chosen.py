"""Which corpus a command is about: a name under `conf/corpus`, or a table of one's own."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from subtext.corpora.corpus import Corpus
    from subtext.manifest import Manifest

TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class Chosen:
    """A corpus that is configured but not built.

    Attributes:
        name: as on the command line; a table's stem.
        corpus: the object that builds it.
        folder: where what is made of it goes by default.
        models: where detectors' weights are.
    """

    name: str
    corpus: "Corpus"
    folder: Path
    models: Path

    def build(self) -> "Manifest":
        """The corpus's manifest."""
        return self.corpus.build()


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    """CORPUS, settings of it, and where configs and data are."""
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        help="a corpus by name (the files of conf/corpus), or a table: .csv, .tsv, .parquet, .jsonl",
    )
    parser.add_argument(
        "settings",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="settings as for subtext-train, such as paths.data=FOLDER or corpus.agreement=0.7",
    )
    parser.add_argument("--config-dir", metavar="FOLDER", type=Path, help="a folder of your own configs")


def chosen_corpus(options: argparse.Namespace, *, may_leak: bool = False, **unset: Any) -> Chosen:
    """The corpus that the options name, with its settings composed as for training.

    Args:
        options: the command line.
        may_leak: take a corpus whose splits share speakers, for a command that describes or replaces them.
        unset: what settings that are null become, where the corpus has them.

    Raises:
        ConfigError: there is no such corpus, or a setting cannot be used.
    """
    from subtext.core.building import build
    from subtext.core.composition import Composition, check_config_dirs, conf_folder, override, table_name
    from subtext.corpora.corpus import Corpus
    from subtext.errors import ConfigError
    from subtext.runs.settings import CorpusSettings

    name, overrides = options.corpus, list(options.settings)
    check_config_dirs([] if options.config_dir is None else [options.config_dir])
    if name.lower().endswith(TABLES):
        name = table_name(Path(name))
        overrides = ["corpus=manifest", override("corpus.path", options.corpus), *overrides]
    else:
        if any(setting.startswith("corpus=") for setting in overrides):
            raise ConfigError(f"'{name}' names the corpus already; leave out corpus=...")
        _check_name(name, options.config_dir)
        overrides = [f"corpus={name}", *overrides]
    search_path = [] if options.config_dir is None else [str(options.config_dir.resolve())]
    settings = Composition(conf_folder(), overrides, search_path).settings({}, ())
    CorpusSettings.check({key: settings.get(key) for key in ("corpus", "paths")})
    node: dict[str, Any] = settings["corpus"]
    if may_leak and "disjoint" in node:
        node["disjoint"] = []
    node |= {key: value for key, value in unset.items() if key in node and node[key] is None}
    folder, models = Path(settings["paths"]["work"]) / "data" / name, Path(settings["paths"]["models"])
    return Chosen(name, build(node, Corpus), folder, models)


def _check_name(name: str, config_dir: Path | None) -> None:
    from difflib import get_close_matches

    from subtext.core.composition import conf_folders
    from subtext.errors import ConfigError

    folders = [*conf_folders(), *([] if config_dir is None else [config_dir])]
    known = sorted({path.stem for folder in folders for path in (folder / "corpus").glob("*.yaml")})
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        if Path(name).suffix.lower() in (".xlsx", ".xls", ".ods"):
            hint = "save the sheet as CSV (UTF-8). "
        raise ConfigError(f"no corpus '{name}'; {hint}use one of {', '.join(known)}, or a table ({', '.join(TABLES)})")


def manifest_file(path: Path) -> Path:
    """A name to write a manifest under, which may take the place of a manifest, but of nothing else.

    Raises:
        ConfigError: it is no Parquet file's name, or there is something that no command of ours wrote.
    """
    from subtext.errors import ConfigError

    if path.suffix != ".parquet":
        raise ConfigError(f"--out {path}: use a name that ends in .parquet")
    beside = path.with_suffix(".json")
    if (path.exists() or beside.exists()) and not (beside.is_file() and b'"allow_links"' in beside.read_bytes()):
        there = path if path.exists() else beside
        raise ConfigError(
            f"{there} is no manifest that subtext-data wrote, and would be overwritten; choose another --out"
        )
    return path
