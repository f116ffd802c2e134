"""What Optuna's CMA-ES sampler keeps in a study: its state as a pickle, which it would load whoever wrote it."""

import io
import pickle
from collections.abc import Mapping
from typing import Any, Final

from subtext.errors import TrustError

_PARTS: Final = frozenset(
    {
        ("cmaes._cma", "CMA"),
        ("cmaes._cmawm", "CMAwM"),
        ("cmaes._sepcma", "SepCMA"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy.random._mt19937", "MT19937"),
        ("numpy.random._pickle", "__bit_generator_ctor"),
        ("numpy.random._pickle", "__randomstate_ctor"),
    }
)
"""What the sampler's state consists of (cmaes 0.12, numpy 2)."""


class _OnlyItsParts(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PARTS:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of it")
        return super().find_class(module, name)


def check_state(attributes: Mapping[str, Any], where: str) -> None:
    """Refuse a trial whose state of the sampler is anything else than such a state.

    Args:
        attributes: the trial's system attributes.
        where: the storage, for the message.

    Raises:
        TrustError: it is; nothing of it was run.
    """
    prefixes = {key.rpartition(":")[0] for key in attributes if key.endswith("optimizer:0")}
    for prefix in prefixes:
        parts = [attributes[key] for key in (f"{prefix}:{i}" for i in range(len(attributes))) if key in attributes]
        try:
            _OnlyItsParts(io.BytesIO(bytes.fromhex("".join(parts)))).load()
        except Exception as error:
            raise TrustError(
                f"{where} holds a state of the sampler that is none ({' '.join(str(error).split())[:100]}); it was "
                "not loaded. Search with another sampler= under another name="
            ) from error
