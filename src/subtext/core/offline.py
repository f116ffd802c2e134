"""Keep libraries from the network while somebody else's folder is read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def offline() -> Iterator[None]:
    """Let model hubs answer from their local cache only."""
    from huggingface_hub import constants

    known, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = known
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before
