"""`subtext-predict RUN INPUT...`: one line a turn, saying where words, face and voice disagree."""

import argparse
import contextlib
import logging
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from subtext import __version__
from subtext.cli.arguments import TRUST, Input, Paragraphs, check_inputs
from subtext.cli.outcome import OK, SOME_FAILED, finish
from subtext.errors import ConfigError

if TYPE_CHECKING:
    from subtext.runs.folder import RunFolder

DESCRIPTION: Final = """\
Predict for each turn of recordings whether words and face, and words and voice,
disagree.

RUN is the folder of a training run. INPUT is a recording, a folder of
recordings, or a manifest (.csv, .parquet, .jsonl). Turns and their words are
read from a file beside each recording (same name, .srt, .vtt, .csv, .tsv with
start, end, transcript, speaker, role; or .txt for one turn), or given by an
option. Subtext does not transcribe; without words it abstains and still tells
the polarity of face and voice."""

EPILOG: Final = """\
On a terminal you see an entry a turn, below the name of its input; a pipe gets
one JSON object a line, and so does --out. With --out NAME.csv there is a table
instead, written when all is done. Any text and file name is taken as it is;
only one that begins with '-' needs --transcript=-TEXT, or -- before file names.
The lines repeat words and speakers, as was asked for; messages on the error
stream never do: there a manifest's row is a number.
Exit code: 0 done, 1 some turns or inputs could not be done (their lines say
why), 2 nothing could be done, 130 interrupted (what was done is written)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(_OneLine("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[shown])

    def run() -> int:
        check_inputs(parser, options)
        return _predict(options)

    return finish(run, debug=options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="subtext-predict",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Paragraphs,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a training run")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="recording, folder of recordings, or manifest")
    words = parser.add_argument_group("words").add_mutually_exclusive_group()
    words.add_argument("--transcript", metavar="TEXT", help="what is said; each recording is then one turn")
    words.add_argument(
        "--transcript-file",
        metavar="FILE",
        type=Input("a text file of what is said"),
        help="plain text file of what is said",
    )
    words.add_argument(
        "--turns",
        metavar="FILE",
        type=Input("a file of the recording's turns, such as .srt or .csv"),
        help=".srt, .vtt, .csv, .tsv, .json, .jsonl, .eaf or .rttm file of the one recording; "
        "JSON also as WhisperX, pyannoteAI and Label Studio write it",
    )
    parser.add_argument(
        "--encoding", default="utf-8", metavar="NAME", help="of text files, such as latin-1 (default utf-8)"
    )
    parser.add_argument("--out", metavar="FILE", help="write the lines here: .jsonl, or .csv for a table")
    parser.add_argument("--json", action="store_true", help="print JSON lines on a terminal too")
    parser.add_argument(
        "--sort",
        choices=("time", "probability"),
        default="time",
        help="time: as spoken, each recording as soon as it is done (default); probability: the most incongruent first",
    )
    parser.add_argument(
        "--root",
        metavar="FOLDER",
        type=Input("the folder of the manifest's files", folder=True),
        help="where a manifest's files are, if not in its own folder",
    )
    parser.add_argument(
        "--models",
        metavar="FOLDER",
        type=Input("the folder of detector weights", folder=True),
        help="where detector weights are, if not where the run had them",
    )
    parser.add_argument(
        "--no-novelty-check",
        action="store_false",
        dest="novelty_check",
        help="answer for turns that are unlike the training clips too",
    )
    parser.add_argument("--trust", metavar="PACKAGE", action="append", default=[], help=TRUST)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, mps")
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error, with words that it may hold"
    )
    parser.add_argument("--version", action="version", version=f"subtext {__version__}")
    return parser


class _OneLine(logging.Formatter):
    """Messages name files, whose names may hold anything that a terminal would take for a command."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message without a line break."""
        from subtext.sessions.transcripts import printable

        return printable(super().formatMessage(record))


def _predict(options: argparse.Namespace) -> int:
    from subtext.prediction.inputs import Words, files_read, find_inputs, read_manifests, rows_of
    from subtext.runs.folder import RunFolder

    words = Words(
        options.transcript,
        options.transcript_file,
        options.turns,
        options.encoding,
    )
    # Everything that can be wrong with the command line is found before anything expensive begins.
    given = words.read()
    found = find_inputs(options.inputs, words)
    manifests = read_manifests(found, options.root)
    if options.out is not None:
        _check_out(Path(options.out), files_read(found, words, manifests), RunFolder(options.run))

    from subtext.prediction.predictor import Predictor

    predictor = Predictor(
        Path(options.run),
        device=options.device,
        models=options.models,
        trust=options.trust,
        novelty_check=options.novelty_check,
    )
    failed = False
    rows = {name: rows_of(manifests[path]) for name, path in found if path in manifests}
    with _Output(options.out, options.json, rows, by_probability=options.sort == "probability") as output:
        for line in predictor.predict(found, given, options.encoding, manifests):
            failed |= "error" in line or bool(line["failed"])
            output.write(line)
    return SOME_FAILED if failed else OK


class _Output:
    """Where lines go: JSON to a file or a pipe, readable entries to a terminal; failures to stderr as well.

    The file is left as it was until there is a first line to write. Sorted lines are shown at the end, and an
    interruption is an end; the file has them as they come, so that a process that is killed loses none, and in their
    order at the end. A table (.csv) has the columns of all lines, and so is written at the end. Standard error, which
    ends in logs, has a manifest's rows by their numbers: ids may be names.
    """

    def __init__(
        self, out: str | None, json: bool, rows: Mapping[str, Mapping[str, int]], by_probability: bool
    ) -> None:
        self._path = out
        self._rows = rows
        self._json = json or (out is None and not sys.stdout.isatty())
        self._shown: str | None = None  # the input that the heading above names
        self._table: list[dict[str, Any]] | None = [] if _is_table(out) else None
        self._file: TextIO | None = None
        self._kept: list[dict[str, Any]] | None = [] if by_probability else None
        self._again = False  # whether what is in the file can be written over
        self._began = False

    def __enter__(self) -> "_Output":
        if self._path is not None and self._table is None:
            with _told(self._path):
                self._file = open(self._path, "w", encoding="utf-8", opener=_open_untouched)
                self._again = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        # Whatever the terminal's encoding, JSON is UTF-8, and a name that cannot be shown is no reason to fail.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(**({"encoding": "utf-8"} if self._json else {"errors": "backslashreplace"}))
        return self

    def write(self, line: dict[str, Any]) -> None:
        """Write one line everywhere it belongs, at once or, what has to wait for its place, at the end."""
        if self._kept is None:
            self._write_file([line])
            self._show(line)
        else:
            self._kept.append(line)
            if self._again:
                self._write_file([line])

    def _write_file(self, lines: Sequence[dict[str, Any]]) -> None:
        from subtext.prediction.lines import to_json

        if self._table is not None:
            self._table += lines
        if self._file is None:
            return
        with _told(self._path):
            if self._again and not self._began:
                self._file.truncate(0)
            self._began = True
            self._file.write("".join(f"{to_json(line)}\n" for line in lines))
            self._file.flush()

    def _show(self, line: dict[str, Any]) -> None:
        from subtext.prediction.lines import failure, readable, to_json
        from subtext.sessions.transcripts import printable

        if "error" in line and (self._json or not sys.stdout.isatty()):
            row = self._rows.get(line["input"], {}).get(line["id"])
            place = line["id"] if row is None else f"{line['input']}: row {row}"
            print(failure(line | {"id": place}), file=sys.stderr)
        with _told(None):
            if self._json:
                print(to_json(line), flush=True)
                return
            if line["input"] != self._shown:
                self._shown = line["input"]
                print(printable(str(self._shown)))
            print(f"  {readable(line, shutil.get_terminal_size().columns - 2)}".replace("\n", "\n  "), flush=True)

    def _write_table(self) -> None:
        import pandas as pd

        from subtext.core.tables import write_csv
        from subtext.prediction.lines import flat

        if self._path is not None and self._table:
            with _told(self._path):
                write_csv(pd.DataFrame([flat(line) for line in self._table]), Path(self._path))

    def _end(self) -> None:
        from subtext.prediction.lines import sort_value

        if self._kept:
            ordered = sorted(self._kept, key=sort_value)
            if self._file is not None and self._again:
                self._file.seek(0)  # the same lines take the same room
            self._write_file(ordered)
            for line in ordered:
                self._show(line)

    def __exit__(self, *_: object) -> None:
        try:
            self._end()
            self._write_table()
        finally:
            if self._file is not None:
                with contextlib.suppress(OSError):  # a full disk was reported when the line was written
                    self._file.close()


def _is_table(out: str | None) -> bool:
    return out is not None and Path(out).suffix.lower() == ".csv"


def _open_untouched(path: str, flags: int) -> int:
    return os.open(path, flags & ~os.O_TRUNC, 0o666)


@contextlib.contextmanager
def _told(path: str | None) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if path is None:
            # What could not be printed must not fail a second time when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = path or "the output"
        raise ConfigError(
            f"cannot write {where} ({error.strerror}); lines written before are kept, write to another place"
        ) from error


def _check_out(out: Path, read: Iterable[Path], run: "RunFolder") -> None:
    try:
        if out.is_dir():
            raise ConfigError(f"--out {out} is a folder; name a file in it")
        if not out.absolute().parent.is_dir():
            raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it first")
        if run.owns(out):
            raise ConfigError(f"--out {out} is a file of the run and would be overwritten; choose another name")
        if out.exists() and any(path.exists() and os.path.samefile(out, path) for path in read):
            raise ConfigError(f"--out {out} is one of the inputs and would be overwritten; choose another name")
        # A device or a pipe has no ending.
        if out.suffix.lower() not in ("", ".jsonl", ".ndjson", ".json", ".csv"):
            raise ConfigError(f"--out {out}: lines are written as JSON or CSV; end its name in .jsonl or .csv")
    except OSError as error:
        raise ConfigError(f"cannot write {out} ({error.strerror}); write to another place") from error


if __name__ == "__main__":
    sys.exit(main())
