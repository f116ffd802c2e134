"""Safetensors files, which may be somebody else's: opened only where their header is of a sane length."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from subtext.errors import WeightsError

LONGEST_HEADER: Final = 2**24
"""Bytes; the largest models have some ten thousand tensors, which are described in a few million."""

_LENGTH_BYTES: Final = 8


def check_header(path: Path) -> None:
    """Refuse a header that is longer than any model's: the library would take it apart, and quote it in its error.

    Raises:
        OSError: the file cannot be read.
        WeightsError: it is no safetensors file by the length of its header.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        size = os.fstat(file.fileno()).st_size
    if length > min(LONGEST_HEADER, size - _LENGTH_BYTES):
        raise WeightsError(
            f"{path} is not a readable safetensors file: it claims a header of {length} bytes, at most "
            f"{min(LONGEST_HEADER, max(0, size - _LENGTH_BYTES))} are possible; fetch it again, or, if it is a pickle, "
            "which is refused because loading one can run code, convert it with safetensors.torch.save_file"
        )


@contextmanager
def opened(path: Path, framework: str = "pt") -> Iterator[Any]:
    """A safetensors file, open: `keys()`, `get_tensor(name)`, `metadata()`.

    Args:
        path: the file.
        framework: of the tensors: "pt" or "numpy".

    Raises:
        WeightsError: it is missing, or not safetensors; nothing is ever unpickled.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_header(path)
        with safe_open(path, framework) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a readable safetensors file ({error}); fetch it again, or, if it is a pickle, which "
            "is refused because loading one can run code, convert it with safetensors.torch.save_file"
        ) from error
