"""Model folders on the hub: only a pinned commit, and only where asked for."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from subtext.errors import WeightsError

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
"""A revision that can't change under its name."""


def hub_folder(
    repository: str, commit: str, allow: Sequence[str], ignore: Sequence[str] = (), *, allow_download: bool, what: str
) -> Path | None:
    """The folder of a repository at a commit, from the hub's local cache or, where allowed, from the hub.

    Args:
        repository: `owner/name`.
        commit: 40 hexadecimal digits.
        allow: patterns of the files that are wanted.
        ignore: patterns of those that are not.
        allow_download: fetch what the local cache lacks.
        what: kind of model, for messages.

    Returns:
        The folder; None where the local cache lacks it and fetching is not allowed.

    Raises:
        WeightsError: it cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                repository,
                revision=commit,
                local_files_only=not allow_download,
                allow_patterns=list(allow),
                ignore_patterns=list(ignore),
            )
        )
    except LocalEntryNotFoundError:
        if not allow_download:
            return None
        raise WeightsError(f"{what} {repository} cannot be fetched: the hub cannot be reached") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{what} {repository} cannot be fetched ({type(error).__name__}: {reason})") from error
