"""ELAN (.eaf): a file to rate in, made from turns and codebook, and the ratings read back from it.

One file holds one session. Each role has a top tier with its turns, the words as values. Below the rated one stand a
tier with the turns' names and, for each label and rater, a tier `LABEL@RATER` (Symbolic_Association, so that a rating
belongs to one turn), whose controlled vocabulary is the codebook's answers. Labels that are judged per session stand
below a tier `session` with one annotation. pympi-ling reads and writes; the format is EAF 3.0 of the Max Planck
Institute for Psycholinguistics. Times are whole milliseconds there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from subtext.annotation.codebook import Codebook, Label
from subtext.annotation.turn_table import rated_turns
from subtext.core.writing import replacing
from subtext.errors import AnnotationError
from subtext.sessions.elan import NAMES_SUFFIX, SESSION_PROPERTY, SESSION_TIER, parse_eaf, slots_of, turn_names

_LANGUAGE: Final = "und"


def write_elan(
    turns: pd.DataFrame, codebook: Codebook, path: Path, *, raters: Sequence[str], media: str | None = None
) -> Path:
    """Write a file for one session, with empty tiers to rate in.

    Args:
        turns: of one session, as `read_turn_table` gives them.
        codebook: the scheme.
        path: the .eaf file.
        raters: one or more names; for ratings that are independent give each rater a file of their own.
        media: the recording as ELAN finds it.

    Raises:
        AnnotationError: the turns are of several sessions, overlap within a role, or hold text that XML cannot.
    """
    from pympi.Elan import Eaf, to_eaf

    sessions = turns["session"].unique()
    if len(sessions) != 1:
        raise AnnotationError(
            f"an ELAN file holds one session, but the turns are of {len(sessions)}; write one a session"
        )
    session = str(sessions[0])
    document = Eaf(author="Subtext")
    document.remove_tier("default")
    document.add_property(SESSION_PROPERTY, _xml_text(session, "session"))
    document.add_language(_LANGUAGE, "http://cdb.iso.org/lg/CDB-00130975-001", "undetermined (und)")
    if media is not None:
        document.add_linked_file(media, mimetype=_mime_type(media))
    document.add_linguistic_type("associated", constraints="Symbolic_Association", timealignable=False)
    for label in codebook.labels.values():
        _add_vocabulary(document, label)
    rated = rated_turns(turns)
    for role, of_role in turns.groupby(turns["role"].fillna("turns"), sort=False):
        _add_turns(document, str(role), of_role)
    for role in rated["role"].fillna("turns").unique():
        _add_rating_tiers(document, str(role), codebook.of_unit("turn"), raters)
    if codebook.of_unit("session"):
        document.add_tier(SESSION_TIER)
        document.add_annotation(SESSION_TIER, 0, max(round(end * 1000) for end in turns["end"]), session)
        _add_rating_tiers(document, SESSION_TIER, codebook.of_unit("session"), raters)
    with replacing(path) as made:
        to_eaf(made, document, pretty=False)  # pretty printing adds white space
    return path


def elan_ratings(path: Path, codebook: Codebook, session: str | None = None) -> pd.DataFrame:
    """The judgements in a file that `write_elan` made and raters filled in, for `check_ratings`.

    A tier counts whose name is `LABEL@RATER`, or that is called like a label and has an annotator. A rating belongs to
    the turn above it, which is called as its tier of turn names says, else by its beginning in seconds.

    Args:
        path: the .eaf file.
        codebook: the scheme.
        session: where the file does not name its own; default its name without its ending.

    Raises:
        AnnotationError: it holds no tier of ratings.
        TranscriptError: it cannot be read.
    """
    document = parse_eaf(path)
    properties = dict(document.properties)
    own_session = properties.get(SESSION_PROPERTY) or session or path.stem
    names = turn_names(document)
    rows: list[dict[str, Any]] = []
    for place, (tier, (_, referring, attributes, _)) in enumerate(document.tiers.items(), 1):
        name, at, rater = tier.partition("@")
        if not at and tier not in codebook.labels:
            continue
        try:
            label = codebook.label(name)
        except AnnotationError as error:
            raise AnnotationError(f"{path}, tier {place}: {error}") from error
        for number, (parent, value, *_) in enumerate(referring.values(), 1):
            times = [document.timeslots.get(slot) for slot in slots_of(document, parent) or (None, None)]
            per_turn = label.unit == "turn"
            start, end = (time / 1000 if time is not None and per_turn else None for time in times)
            rows.append(
                {
                    "session": own_session,
                    "turn": names.get(parent) if per_turn else None,
                    "start": start,
                    "end": end,
                    "rater": rater or attributes.get("ANNOTATOR") or None,
                    "label": label.name,
                    "value": (value or "").strip() or None,
                    "file": str(path),
                    "row": number,
                    "column": tier,
                }
            )
    if not rows:
        raise AnnotationError(
            f"{path}: no rating in it; expected annotations in tiers called LABEL@RATER with labels out of "
            f"{', '.join(codebook.labels)}"
        )
    types = {"session": object, "turn": object, "start": float, "end": float, "value": object}
    return pd.DataFrame(rows).astype(types)


def _add_vocabulary(document: Any, label: Label) -> None:
    document.add_linguistic_type(label.name, constraints="Symbolic_Association", timealignable=False)
    if label.answers and label.scale != "interval":
        document.add_controlled_vocabulary(label.name)
        document.add_cv_description(label.name, _LANGUAGE, _xml_text(label.definition, label.name))
        meanings = {**label.values, **label.unratable}
        for number, (value, meaning) in enumerate(meanings.items()):
            entry = [(_xml_text(value, label.name), _LANGUAGE, _xml_text(meaning, label.name))]
            document.add_cv_entry(label.name, f"cve_{label.name}_{number}", entry)
        document.linguistic_types[label.name]["CONTROLLED_VOCABULARY_REF"] = label.name


def _add_turns(document: Any, role: str, turns: pd.DataFrame) -> None:
    role = _xml_text(role, "role")
    if role in document.tiers or role == SESSION_TIER or "@" in role:
        raise AnnotationError(
            f"a role cannot be called '{SESSION_TIER}', or have an '@', in an ELAN file; rename it (column role)"
        )
    document.add_tier(role, part=role)
    names = f"{role}{NAMES_SUFFIX}"
    document.add_tier(names, ling="associated", parent=role, part=role)
    ordered = turns.sort_values("start", kind="stable")
    before, last = None, -1
    columns = (ordered[c] for c in ("turn", "start", "end", "transcript"))
    for position, turn, start, end, words in zip(ordered.index, *columns, strict=True):
        row = f"row {position + 1}"
        begin, stop = round(start * 1000), round(end * 1000)
        if begin < last:
            raise AnnotationError(
                f"{before} and {row} are turns of one role and overlap, which an ELAN tier cannot hold; correct them"
            )
        document.add_annotation(role, begin, stop, _xml_text(words or "", f"{row}, column 'transcript'"))
        _add_below(document, names, _newest(document, role), _xml_text(str(turn), f"{row}, column 'turn'"))
        before, last = row, stop


def _add_rating_tiers(document: Any, parent: str, labels: Sequence[Label], raters: Sequence[str]) -> None:
    for rater in raters:
        for label in labels:
            tier = f"{label.name}@{_xml_text(rater, 'rater')}"
            if tier in document.tiers:
                raise AnnotationError(
                    f"two tiers would be called alike (label '{label.name}'); name each rater once, and the client's "
                    "role 'client'"
                )
            document.add_tier(tier, ling=label.name, parent=parent, ann=rater)


def _add_below(document: Any, tier: str, parent: str, value: str) -> None:
    """A dependent annotation; pympi's own way looks for the parent by time, and may find the turn before."""
    annotation = document.generate_annotation_id()
    document.annotations[annotation] = tier
    document.tiers[tier][1][annotation] = (parent, value, None, None)


def _newest(document: Any, tier: str) -> str:
    return str(next(reversed(document.tiers[tier][0])))


def _mime_type(media: str) -> str | None:
    import mimetypes

    # pympi knows the types of three endings only, and fails on others.
    return mimetypes.guess_type(media)[0] or "unknown"


def _xml_text(text: str, where: str) -> str:
    """Text that XML gives back as it was, but for carriage returns, which it takes for line breaks."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for char in text:
        code = ord(char)
        if (code < 0x20 and char not in "\t\n") or 0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF):
            raise AnnotationError(f"{where}: holds the character U+{code:04X}, which an ELAN file cannot; remove it")
    return text
