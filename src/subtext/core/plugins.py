"""Packages from outside: installed plug-ins by name, and where Python would import a package from. Nothing is imported.

A distribution declares a plug-in in its own project file; what it names is a package or a module:

    [project.entry-points."subtext.plugins"]
    mypackage = "mypackage"

Its folder `conf` is searched like this package's own. Installing it was the owner's deed, so what it names is trusted.
"""

import os
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from subtext.errors import TrustError

GROUP: Final = "subtext.plugins"


def plugins() -> list[str]:
    """The packages and modules that installed plug-ins name; one that merely lies in the current folder is none."""
    found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return [point.module for point in found if point.dist and not _by_accident(Path(str(point.dist.locate_file(""))))]


def plugin_configs() -> list[Path]:
    """The folders `conf` of installed plug-ins."""
    return [
        place
        for module in plugins()
        for top in _places(module.partition(".")[0])
        if (place := top.joinpath(*module.split(".")[1:], "conf")).is_dir()
    ]


def search_plugins() -> None:
    """Let Hydra look for configuration in plug-ins too, whatever composes it in this process."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    registered = Plugins.instance().discover(SearchPathPlugin)
    if any(kind.__name__ == "PluginConfigs" for kind in registered):
        return

    class PluginConfigs(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for place in plugin_configs():
                search_path.append(GROUP, f"file://{place}")

    Plugins.instance().register(PluginConfigs)


def check_place(module: str, folder: Path) -> None:
    """Refuse a trusted module that Python would take from where somebody else may have put it.

    Args:
        module: its dotted name.
        folder: the run folder that asks for it.

    Raises:
        TrustError: it lies in that folder, or in the current one without PYTHONPATH naming that.
    """
    top = module.partition(".")[0]
    if top in sys.modules:
        return
    for place in _places(top):
        if place.is_relative_to(folder.resolve()):
            raise TrustError(
                f"'{top}' would be imported from {place}, which is in the run folder itself and may be somebody "
                "else's; nothing of it was run. Put your own elsewhere, and that folder on PYTHONPATH"
            )
        if _by_accident(place.parent):
            raise TrustError(
                f"'{top}' would be imported from {place} only because that is the current folder, which may be "
                "somebody else's; nothing of it was run. If it is yours, put the folder on PYTHONPATH"
            )


def _places(top: str) -> Iterator[Path]:
    """The folders of a package, or the file of a module."""
    spec = find_spec(top)
    if spec is None:
        return
    files = spec.submodule_search_locations or ([spec.origin] if spec.has_location and spec.origin else [])
    yield from (Path(file).resolve() for file in files)


def _by_accident(entry: Path) -> bool:
    """Whether an entry of Python's path is the current folder, and nobody asked for that."""
    asked = [Path(part).resolve() for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return entry.resolve() == Path.cwd().resolve() and Path.cwd().resolve() not in asked
