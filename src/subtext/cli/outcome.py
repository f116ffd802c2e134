"""How a command ends: its exit code, and one line for an error that is meant for a person."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from subtext.core.threads import ready_threads
from subtext.errors import SubtextError, shortened

OK = 0
SOME_FAILED = 1
UNUSABLE = 2
INTERRUPTED = 130
UNFORESEEN = 1


def finish(command: Callable[[], int | None], debug: bool = False) -> int:
    """Run a command and turn what happens into an exit code.

    Args:
        command: does the work; gives its exit code, None for success.
        debug: let errors through with their traceback.

    Returns:
        0, or what the command gave; 2 for an error that the user can act on, as one about a file or folder is even
        where nothing foresaw it; 1 for a fault of this package's own; 130 after Ctrl-C.
    """
    ready_threads()
    try:
        return command() or OK
    except SubtextError as error:
        if debug:
            raise
        _tell(error, str(error))
        return UNUSABLE
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has gone: not our error, and flushing at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        if debug:
            raise
        names = ", ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        what = f"{names or 'a file'}: {error.strerror or error}"
        _tell(error, f"{what}; check the path, its rights, and that the disk is not full")
        return UNUSABLE
    except Exception as error:
        if debug:
            raise
        # Not in its own words: what a library says of a value may repeat what somebody said.
        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "subtext" in Path(frame.filename).parts]
        place = ours[-1] if ours else place
        where = f"{Path(place.filename).parent.name}/{Path(place.filename).name}, line {place.lineno}"
        _tell(error, f"unforeseen, in {where}; run it again with --debug (debug=true) to see all, and report it")
        return UNFORESEEN


def _tell(error: Exception, message: str) -> None:
    from subtext.sessions.transcripts import printable

    print(printable(f"{type(error).__name__}: {shortened(message)}"), file=sys.stderr)
