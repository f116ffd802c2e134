"""Subtext: find where words, face and voice disagree in a recorded conversation.

The names that `dir(subtext)` lists are loaded when they are first used; `__init__.pyi` tells type checkers of them.
With the first of them it is chosen how threads wait, by the environment variable `OMP_WAIT_POLICY`, unless that is set
or torch was imported before; see `subtext.core.threads`.
"""

from importlib import import_module

__version__ = "0.1.0"

_PLACES = {
    "Corpus": "subtext.corpora.corpus",
    "Encoder": "subtext.encoders.encoder",
    "Fusion": "subtext.fusion.base",
    "Predictor": "subtext.prediction.predictor",
    "Tokens": "subtext.encoders.tokens",
    "compare": "subtext.runs.front_door",
    "evaluate": "subtext.runs.front_door",
    "extract": "subtext.runs.front_door",
    "load_run": "subtext.runs.front_door",
    "read_manifest": "subtext.corpora.files",
    "train": "subtext.runs.front_door",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'subtext' has no attribute '{name}'")
    # Imported here: `import subtext` alone loads nothing and changes nothing.
    from subtext.core.threads import ready_threads

    ready_threads()
    found: object = getattr(import_module(_PLACES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
