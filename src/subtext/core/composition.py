"""The configuration, composed in this process as the command line composes it: Hydra's groups and overrides.

Hydra composes once for every combination of groups; single values are set in a copy, as Hydra itself sets them, which
takes a fraction of the time.
"""

import copy
import difflib
import re
import shlex
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Final

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from subtext.core.plugins import plugin_configs, search_plugins
from subtext.errors import ConfigError

CONFIG_NAME: Final = "config"
"""The file that the configuration of training and extraction begins with."""

Value = str | int | float | bool | None
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "inf", "nan"}


def conf_folder() -> Path:
    """The configuration: beside the package in a wheel, at the top of the repository in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def conf_folders() -> list[Path]:
    """That folder, and those of installed plug-ins."""
    return [conf_folder(), *plugin_configs()]


def ready_hydra() -> None:
    """Teach Hydra, in this process, what our configuration asks of it."""
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
    OmegaConf.register_new_resolver("corpus_name", _corpus_name, replace=True)
    OmegaConf.register_new_resolver("choices_of_groups", _choices_of_groups, replace=True)
    search_plugins()


@dataclass(frozen=True)
class _Composed:
    """One combination of groups: as composed, without Hydra's own node, and what ${hydra:...} in it means."""

    whole: DictConfig
    bare: DictConfig
    hydra: Any

    @classmethod
    def of(cls, whole: DictConfig) -> "_Composed":
        current = HydraConfig.instance()
        around = current.cfg
        current.set_config(whole)
        meant, current.cfg = current.cfg, around
        bare = copy.deepcopy(whole)
        with open_dict(bare):
            del bare["hydra"]
        return cls(whole, bare, meant)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Let ${hydra:...} mean this configuration's choices."""
        current = HydraConfig.instance()
        around, current.cfg = current.cfg, self.hydra
        try:
            yield
        finally:
            current.cfg = around


class Composition:
    """Composes the configuration of subtext-train and subtext-extract.

    Args:
        folder: of the configuration.
        overrides: as on the command line; the last that sets a key decides.
        search_path: further configuration folders (`--config-dir`).
    """

    def __init__(self, folder: Path, overrides: Sequence[str], search_path: Sequence[str] = ()) -> None:
        self.folder = folder
        self.overrides = list(overrides)
        self.search_path = list(search_path)
        self._composed: dict[tuple[tuple[str, Value], ...], _Composed] = {}
        ready_hydra()

    def groups(self, keys: Collection[str]) -> set[str]:
        """Those of some keys that are groups of the configuration."""
        with _hydra(self.folder):
            loader = GlobalHydra.instance().config_loader()
            return {key for key in keys if loader.get_group_options(key)}

    def config(self, groups: Mapping[str, Value]) -> DictConfig:
        """The configuration with these choices of groups, unresolved, Hydra's own node in it.

        Raises:
            ConfigError: it cannot be composed.
        """
        return self._compose(groups).whole

    def _compose(self, groups: Mapping[str, Value]) -> _Composed:
        key = tuple(sorted(groups.items(), key=str))
        if key not in self._composed:
            path = f"hydra.searchpath=[{','.join(quoted(place) for place in self.search_path)}]"
            overrides = [*self.overrides, *(override(group, choice) for group, choice in groups.items())]
            check_overrides(overrides)
            with _hydra(self.folder):
                try:
                    composed = compose(CONFIG_NAME, [path, *overrides], return_hydra_config=True)
                    self._composed[key] = _Composed.of(composed)
                except (HydraException, OmegaConfBaseException, YAMLError, UnicodeError) as error:
                    chosen = " ".join(override(group, choice) for group, choice in groups.items())
                    raise uncomposable(error, overrides, CONFIG_NAME, self.search_path, chosen) from error
        return self._composed[key]

    def settings(self, values: Mapping[str, Value], groups: Collection[str]) -> dict[str, Any]:
        """The resolved configuration with some keys set.

        Args:
            values: of keys, groups among them.
            groups: those keys that are groups.

        Raises:
            ConfigError: a key is not in the configuration, or a value cannot be resolved.
        """
        composed = self._compose({key: value for key, value in values.items() if key in groups})
        config = copy.deepcopy(composed.bare)
        with composed.current():
            for key, value in values.items():
                if key not in groups:
                    OmegaConf.update(config, key, value)
            return resolved(config, throw_on_missing=True)

    def run_folder(self) -> Path:
        """Where subtext-train would put the run.

        Raises:
            ConfigError: its name cannot be resolved.
        """
        composed = self._compose({})
        with composed.current():
            try:
                return Path(composed.whole.hydra.run.dir)
            except OmegaConfBaseException as error:
                raise ConfigError(f"the run folder cannot be named: {_reason(error)}") from error

    def value(self, key: str) -> Value:
        """The value that the configuration has where nothing is searched: a group's choice, or a key's value."""
        composed = self._compose({})
        choices = composed.whole.hydra.runtime.choices
        if key in choices:
            return choices[key]
        with composed.current():
            try:
                return OmegaConf.select(composed.bare, key, throw_on_missing=True)
            except OmegaConfBaseException:
                return None

    def is_off(self, key: str) -> bool:
        """Whether a key belongs to a group that is switched off, as the encoder of a modality that a corpus lacks."""
        config = self.config({})
        parts = key.split(".")
        above = [parts[:length] for length in range(1, len(parts))]
        off = ["/".join(path) for path in above if OmegaConf.select(config, ".".join(path)) is None]
        return bool(self.groups(off))

    def largest(self, key: str) -> Any:
        """The largest value that a key has in what was composed so far; None where nothing has it."""
        values = [OmegaConf.select(composed.bare, key) for composed in self._composed.values()]
        return max((value for value in values if value is not None), default=None)


def resolved(config: DictConfig, *, throw_on_missing: bool = False) -> dict[str, Any]:
    """A configuration as plain values, without Hydra's own node, with what `${...}` stands for.

    Args:
        config: as composed.
        throw_on_missing: refuse a `???` that nothing has taken the place of.

    Raises:
        ConfigError: naming the setting that cannot be resolved.
    """
    own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    try:
        plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=throw_on_missing)
    except RecursionError as error:
        raise ConfigError("the configuration refers to itself in a circle by ${...}; write one value out") from error
    except OmegaConfBaseException as error:
        where = f"{error.full_key}: " if error.full_key else ""
        plain = r"; for the characters ${ themselves write \${" if "nterpolation" in _reason(error) else ""
        raise ConfigError(f"{where}{_reason(error)}; correct it in the configuration{plain}") from error
    return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}


@contextmanager
def _hydra(folder: Path) -> Iterator[None]:
    """Hydra on a folder of configuration; inside a Hydra command, its own state is there again afterwards."""
    around = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = around


def override(key: str, value: Value) -> str:
    """One argument of the command line that sets a key."""
    return f"{key}={quoted(value)}"


def quoted(value: Any) -> str:
    """A value as Hydra's command line reads it back."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float() | int():
            return repr(value)
        case list() | tuple():
            return f"[{','.join(quoted(part) for part in value)}]"
        case Mapping():
            return f"{{{','.join(f'{quoted(key)}:{quoted(part)}' for key, part in value.items())}}}"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return _in_quotes(text)


def _in_quotes(text: str) -> str:
    # Quotes keep a ${ from the grammar, and the backslash keeps it from being looked up afterwards.
    return QuotedString(text.replace("${", r"\${"), Quote.single).with_quotes()


def check_overrides(overrides: Iterable[str]) -> None:
    """Refuse an override that Hydra cannot read, and a group that is set to null, which it meets with a traceback.

    Raises:
        ConfigError: naming the setting, and how to quote a value.
    """
    parser = OverridesParser.create()
    for text in overrides:
        key, equals, value = text.lstrip("+").partition("=")
        try:
            parser.parse_override(text)
        except HydraException as error:
            if not equals:
                raise ConfigError(f"{text!r} is no setting; write KEY=VALUE, or ~KEY to leave one out") from error
            whole = f"{key}={_in_quotes(str(Path(value).expanduser()))}"
            shown = shlex.quote(whole) if re.search(r"[\"$`\\!]", whole) else f'"{whole}"'
            raise ConfigError(f"{key}: its value has characters that need quotes; write {shown}") from error
        choices = sorted(file.stem for file in conf_folder().joinpath(key).glob("*.yaml"))
        if equals and value.lower() == "null" and choices:
            raise ConfigError(f"{key}=null: a group needs a choice; write {key}=CHOICE, one of {', '.join(choices)}")


def uncomposable(
    error: Exception,
    overrides: Sequence[str],
    config_name: str = CONFIG_NAME,
    config_dirs: Iterable[str | Path] = (),
    chosen: str = "",
) -> ConfigError:
    """What to tell of a configuration that cannot be composed, with the nearest names to those that do not exist."""
    hints = [*misspelt(overrides, config_name, config_dirs)]
    reason = _reason(error)
    if isinstance(error, UnicodeError):
        files = [path for folder in config_dirs for path in Path(folder).rglob("*.yaml") if not _is_text(path)]
        reason = f"{files[0] if files else 'a file'} is no UTF-8 text; save it as such"
    elif reason.startswith("Ambiguous value"):
        hints.append("in brackets, KEY=[A,B], it is a list; with -m a grid over its values")
    elif reason.startswith("Error parsing override"):
        hints.append("write KEY=VALUE")
    about = f"the configuration cannot be composed{f' with {chosen}' if chosen else ''}"
    return ConfigError("; ".join([f"{about}: {reason}", *hints]))


def check_config_dirs(folders: Iterable[str | Path]) -> None:
    """Whether folders of further configuration are there.

    Raises:
        ConfigError: naming one that is not.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise ConfigError(f"--config-dir {folder} is no folder; name the one that holds GROUP/NAME.yaml")
        for path in Path(folder).rglob("*.yaml"):
            with suppress(YAMLError, UnicodeError):  # which composing says, where the file is used
                if not isinstance(yaml.safe_load(path.read_text("utf-8")), (dict, NoneType)):
                    raise ConfigError(f"{path} holds no settings; write KEY: VALUE lines")


def _is_text(path: Path) -> bool:
    try:
        path.read_text("utf-8")
    except UnicodeError:
        return False
    return True


def misspelt(
    overrides: Iterable[str], config_name: str = CONFIG_NAME, config_dirs: Iterable[str | Path] = ()
) -> Iterator[str]:
    """For each override whose key or choice does not exist, a line that names the nearest that does."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException:
        return
    choices: dict[str, list[str]] = {}
    for folder in (*conf_folders(), *map(Path, config_dirs)):
        for path in folder.rglob("*.yaml"):
            choices.setdefault(path.parent.relative_to(folder).as_posix(), []).append(path.stem)
    choices.pop(".", None)
    keys = choices.keys() | set(_keys(OmegaConf.to_container(_defaults(choices, parsed, config_name), resolve=False)))
    keys = {key for key in keys if not key.startswith("space.")}  # entries of a sweep, not keys of their own
    for override in parsed:
        key = override.key_or_group
        if override.is_add() or key.startswith("hydra"):
            continue
        if key in choices:
            for value in _values(override):
                if value not in choices[key]:
                    yield from _hint(f"{key}={value}", [f"{key}={c}" for c in choices[key]])
        elif key not in keys:
            # The setting itself is oftener right than where it is said to be.
            same = [known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2]]
            yield from _hint(key, same or keys)


def _values(override: Override) -> list[str]:
    """What a group is set to: one choice, or those of a grid."""
    value = override.value()
    return [str(v) for v in (value.list if isinstance(value, ChoiceSweep) else [value]) if isinstance(v, str)]


def _defaults(choices: dict[str, list[str]], parsed: list[Override], config_name: str) -> DictConfig:
    # The chosen groups decide which keys exist, so the valid choices among the overrides are kept.
    valid = [
        f"{o.key_or_group}={value}"
        for o in parsed
        for value in _values(o)[:1]
        if o.key_or_group in choices and (conf_folder() / o.key_or_group / f"{value}.yaml").is_file()
    ]
    with _hydra(conf_folder()):
        return compose(config_name, overrides=valid)


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _hint(written: str, valid: Iterable[str]) -> Iterator[str]:
    nearest = difflib.get_close_matches(written, sorted(valid), n=1, cutoff=0.5)
    if nearest:
        yield f"'{written}' is not known; did you mean '{nearest[0]}'?"


def _run_folder(resume: str | None, fresh: str) -> str:
    return resume or fresh


def _corpus_name(choice: str, *, _root_: DictConfig) -> str:
    """What a run is named after: the corpus, or one's own table."""
    node = _root_.get("corpus")
    given = [OmegaConf.select(node, key, default=None) for key in ("name", "path")] if choice == "manifest" else []
    if not any(given):
        return choice
    name, path = given
    return re.sub(r"[^\w.-]+", "_", str(name or table_name(Path(str(path))))).strip("._") or choice


def table_name(path: Path) -> str:
    """What a table of segments is called: its file's name, or its folder's where `subtext-data split` wrote it."""
    return path.parent.name if path.name == "manifest.parquet" and path.parent.name else path.stem


def _choices_of_groups() -> str:
    """The groups that the command's configuration has, and their choices, for its help; at most 80 columns wide."""
    hydra, chosen = GlobalHydra.instance().hydra, HydraConfig.get().runtime.choices
    listed = "" if hydra is None else hydra.format_config_groups(lambda group: group in chosen and "hydra" not in group)
    lines = listed.splitlines()
    return "\n".join(textwrap.fill(line, 80, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if isinstance(error, YAMLError):  # the place in the file comes last
        return f"a file is no YAML ({' '.join(text.split())}), correct it"
    first, *more = text.splitlines() or [type(error).__name__]
    return f"{first} {more[0].strip()}" if first.endswith(":") and more else first
