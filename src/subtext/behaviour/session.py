"""All behavioural measures of a session, from its turns and, where there are any, its recordings."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.behaviour.face import FaceTrack, FacingRule, Side, facing, read_faces, speeds
from subtext.behaviour.measures import names
from subtext.behaviour.synchrony import SynchronySettings, lagged_synchrony, moving_average, turn_synchrony
from subtext.behaviour.turns import (
    BackchannelRule,
    Exchange,
    backchannels,
    exchanges,
    latencies,
    merged,
    overlap_share,
    overlap_shares,
    speaking_time,
    talk_share,
)
from subtext.behaviour.voice import HOP, VoiceTrack, read_voice
from subtext.core.natural_order import natural
from subtext.errors import ManifestError, MediaError, unforeseen_as
from subtext.manifest import Manifest
from subtext.manifest.checks import row_number
from subtext.manifest.table import columns_told
from subtext.media.face_detectors import FaceDetector
from subtext.media.named import named_by, pathless

log = logging.getLogger(__name__)

LEAST_VOICED: Final = 0.1
"""Seconds of voice that a turn's F0 and level need."""
LEAST_VOICED_WINDOW: Final = 1.0
"""Seconds of voice that a point of the moving averages needs."""

Values = npt.NDArray[np.float64]

_OF_FACE: Final = ["facing_share", "head_speed", "face_share"]


@dataclass(frozen=True)
class BehaviourSettings:
    """What the measures depend on."""

    backchannel: BackchannelRule = field(default_factory=BackchannelRule)
    facing: FacingRule = field(default_factory=FacingRule)
    synchrony: SynchronySettings = field(default_factory=SynchronySettings)


@dataclass(frozen=True)
class SessionBehaviour:
    """The measures of one session.

    Attributes:
        session: the measures of the session.
        people: the measures of each person, a row a person; index = the persons, in alphabetical order.
        turns: `id`, `session`, the person's column and the measures of each turn; the rows' index.
    """

    session: dict[str, float]
    people: pd.DataFrame
    turns: pd.DataFrame


@dataclass(frozen=True)
class CorpusBehaviour:
    """The measures of a corpus.

    Attributes:
        sessions: one row a session: `session` and its measures.
        people: one row a person of a session: `session`, the person's column, and its measures.
        turns: one row a turn, in the manifest's order: `id`, `session`, the person's column, and its measures.
    """

    sessions: pd.DataFrame
    people: pd.DataFrame
    turns: pd.DataFrame


def measure_session(
    rows: pd.DataFrame,
    *,
    voices: Mapping[str, VoiceTrack] | None = None,
    faces: Mapping[tuple[str, str], FaceTrack] | None = None,
    by: str = "role",
    settings: BehaviourSettings | None = None,
) -> SessionBehaviour:
    """Every measure of `MEASURES` for one session; what cannot be known is missing (NaN), never 0.

    Args:
        rows: one turn a row, of every person who speaks, with unique index labels: `start` and `end` in s of the
            recording, the column that `by` names, and where there are any `id`, `session`, `transcript`, `audio`,
            `video`. `audio_offset` (s) is added to get times in `audio`. `turn_start` and `turn_end` (s), where they
            are there, place the turns on one clock for all recordings, as the corpus `ether` gives them.
        voices: by the file of the rows' `audio`, else `video`.
        faces: by the file of the rows' `video` and the person.
        by: column that says who speaks: a role or a name.
        settings: see `BehaviourSettings`.

    Raises:
        ManifestError: a column is missing, or nobody is named in the column `by`.
    """
    settings = settings or BehaviourSettings()
    turns = _on_one_clock(rows, by)
    out = pd.DataFrame(index=turns.index)
    timed = turns[(turns["end"] > turns["start"]) & turns["person"].notna()]
    is_backchannel = backchannels(turns, settings.backchannel)
    passed = exchanges(turns, is_backchannel)
    out["duration"] = (
        (turns["end"] - turns["start"]).fillna(turns["file_end"] - turns["file_start"]).where(lambda s: s > 0)
    )
    out["latency"] = latencies(turns, is_backchannel)
    # Of one person alone nothing tells what others did meanwhile.
    together = timed["person"].nunique() > 1
    out["overlap_share"] = overlap_shares(turns) if together else np.nan
    out["backchannel"] = is_backchannel if together else pd.Series(pd.NA, index=out.index, dtype="boolean")
    _measure_voices(out, turns, timed, voices or {})
    _measure_turn_faces(out, turns, faces or {}, settings.facing)
    people = sorted(turns["person"].dropna().unique(), key=natural)
    session = dict.fromkeys(names("session"), float("nan"))
    if len(timed):
        session["duration"] = float(timed["end"].max() - timed["start"].min())
        session["turn_count"] = float(len(timed))
        session["overlap_share"] = overlap_share(turns) if together else float("nan")
    if len(people) == 2:
        session |= _synchrony(turns, out, passed, people, voices or {}, settings.synchrony)
    own = {
        person: _person(person, turns, out, session["duration"]) | _person_face(person, faces or {}, settings.facing)
        for person in people
    }
    keys = rows.reindex(columns=["id", "session", by])
    return SessionBehaviour(
        session,
        pd.DataFrame.from_dict(own, orient="index", columns=names("person")).astype(float),
        pd.concat([keys, out[names("turn")]], axis=1),
    )


def measure_manifest(
    manifest: Manifest,
    *,
    detector: FaceDetector | None = None,
    sides: Mapping[str, Side] | None = None,
    by: str = "role",
    settings: BehaviourSettings | None = None,
    sound: bool = True,
) -> CorpusBehaviour:
    """The measures of every session of a corpus, reading each recording once for its sound and once for its picture.

    Args:
        manifest: one turn a row; rows without a session are left out.
        detector: what finds faces; None = pictures are not read.
        sides: who sits in which half of the picture, where two people are in view of one camera; where None, the
            rows' column `face_side` says so. Without either a recording of two people's turns gives no measures of
            faces, because nothing tells whose face is whose.
        by: column that says who speaks.
        settings: see `BehaviourSettings`.
        sound: whether recordings are listened to.

    Raises:
        ManifestError: no row has a session, nobody is named in the column `by`, an `audio_offset` is no number or a
            `face_side` no side.
        WeightsError: the detector's weights are missing.
    """
    table = manifest.table
    if by not in table or table[by].isna().all():
        raise ManifestError(
            f"{manifest.name}: column '{by}' says of no turn who speaks; fill it, or name another column (--by speaker)"
        )
    if table["session"].isna().all():
        raise ManifestError(f"{manifest.name}: no row has a session; fill the column 'session'")
    sessions, people, turns = [], [], []
    for session, rows in table.groupby("session", sort=False):
        voices = _read_voices(manifest, rows) if sound else {}
        faces = {} if detector is None else _read_faces(manifest, rows, by, detector, sides)
        measured = measure_session(rows, voices=voices, faces=faces, by=by, settings=settings)
        sessions.append({"session": session, **measured.session})
        people.append(measured.people.rename_axis(by).reset_index().assign(session=session))
        turns.append(measured.turns)
    alone = sum(len(one) == 1 for one in people)
    if alone:
        log.warning(
            "%s: %d of %d sessions have turns of one person only, so what compares two is missing; give everybody's "
            "turns (corpus ether: corpus.who=all)",
            manifest.name,
            alone,
            len(people),
        )
    everyone = pd.concat(people, ignore_index=True)[["session", by, *names("person")]]
    return CorpusBehaviour(
        pd.DataFrame(sessions).astype({"session": "string"}),
        everyone.astype({"session": "string", by: "string"}),
        pd.concat(turns).sort_index().reset_index(drop=True),
    )


def _on_one_clock(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Person, start and end on the session's clock, transcript, files of sound and picture, times in the file."""
    for column in ("start", "end", by):
        if column not in rows:
            raise ManifestError(f"a session's turns need the column '{column}'; they have {columns_told(rows)}")
    turns = pd.DataFrame(index=rows.index)
    turns["person"] = rows[by].astype("string")
    columns = rows.reindex(columns=["transcript", "audio", "video"])
    turns["transcript"] = columns["transcript"].astype("string")
    turns["sound"] = columns["audio"].astype("string").fillna(columns["video"].astype("string"))
    turns["picture"] = columns["video"].astype("string")
    turns["file_start"], turns["file_end"] = rows["start"].astype(float), rows["end"].astype(float)
    turns["sound_start"], turns["sound_end"] = _sound_times(rows)
    if {"turn_start", "turn_end"} <= set(rows.columns):
        turns["start"], turns["end"] = rows["turn_start"].astype(float), rows["turn_end"].astype(float)
        # One shift a file: a row's own may differ, because its segment can be a part of the turn.
        turns["shift"] = (turns["sound_start"] - turns["start"]).groupby(turns["sound"]).transform("median")
        return turns
    turns["start"], turns["end"] = turns["file_start"], turns["file_end"]
    turns["shift"] = turns["sound_start"] - turns["start"]
    files = turns.groupby("person")["sound"].nunique()
    if (files > 1).any():
        log.warning(
            "the session that begins in row %d: one person's turns are in %d recordings, so nothing tells when one "
            "turn was after another; turn-taking is missing (give turn_start and turn_end on one clock)",
            row_number(rows.index, 0),
            files.max(),
        )
        turns[["start", "end"]] = np.nan
    return turns


def _measure_voices(
    out: pd.DataFrame, turns: pd.DataFrame, timed: pd.DataFrame, voices: Mapping[str, VoiceTrack]
) -> None:
    """Fill in F0, level and voiced share of each turn, from the frames in which nobody else speaks."""
    out[["f0", "energy", "voiced_share"]] = np.nan
    for label, inside, track in _own_frames(turns, timed, voices):
        voiced = inside & np.isfinite(track.log_f0)
        if inside.any():
            out.loc[label, "voiced_share"] = voiced.sum() / inside.sum()
        if voiced.sum() >= LEAST_VOICED / HOP:
            out.loc[label, "f0"] = float(np.exp(track.log_f0[voiced].mean()))
            out.loc[label, "energy"] = float(track.energy[voiced].mean())


def _own_frames(
    turns: pd.DataFrame, timed: pd.DataFrame, voices: Mapping[str, VoiceTrack]
) -> list[tuple[Any, npt.NDArray[np.bool_], VoiceTrack]]:
    """Each turn with the frames of its recording in which its person alone speaks."""
    others = {
        person: merged(timed.loc[timed["person"] != person, ["start", "end"]].to_numpy(float))
        for person in timed["person"].unique()
    }
    found = []
    for label, turn in turns.iterrows():
        track = voices.get(turn["sound"]) if isinstance(turn["sound"], str) else None
        if track is None or not len(track.times):
            continue
        begin = 0.0 if pd.isna(turn["sound_start"]) else turn["sound_start"]
        stop = float(track.times[-1]) + HOP if pd.isna(turn["sound_end"]) else turn["sound_end"]
        excluded = None
        if turn["person"] in others and pd.notna(turn["shift"]):
            excluded = others[turn["person"]] + turn["shift"]
        found.append((label, track.within(begin, stop, excluded), track))
    return found


def _measure_turn_faces(
    out: pd.DataFrame, turns: pd.DataFrame, faces: Mapping[tuple[str, str], FaceTrack], rule: FacingRule
) -> None:
    """Fill in the measures of the speaker's face during each turn."""
    out[_OF_FACE] = np.nan
    known = {key: (track, facing(track, rule), speeds(track)) for key, track in faces.items()}
    for label, turn in turns.iterrows():
        if pd.isna(turn["picture"]) or pd.isna(turn["person"]) or (turn["picture"], turn["person"]) not in known:
            continue
        track, turned, speed = known[turn["picture"], turn["person"]]
        begin = 0.0 if pd.isna(turn["file_start"]) else turn["file_start"]
        part = track.between(begin, np.inf if pd.isna(turn["file_end"]) else turn["file_end"])
        out.loc[label, _OF_FACE] = _face_values(turned[part], speed[part], track.present[part])


def _person_face(person: str, faces: Mapping[tuple[str, str], FaceTrack], rule: FacingRule) -> dict[str, float]:
    seen = [(facing(track, rule), speeds(track), track.present) for (_, own), track in faces.items() if own == person]
    values = [np.concatenate(parts) for parts in zip(*seen, strict=True)] or [np.empty(0)] * 3
    return dict(zip(_OF_FACE, _face_values(*values), strict=True))


def _face_values(turned: Values, speed: Values, present: npt.NDArray[np.bool_]) -> list[float]:
    """Facing share, median head speed and face share of some pictures."""
    turned, speed = turned[np.isfinite(turned)], speed[np.isfinite(speed)]
    nan = float("nan")
    return [
        float(turned.mean()) if len(turned) else nan,
        float(np.median(speed)) if len(speed) else nan,
        float(present.mean()) if len(present) else nan,
    ]


def _person(person: str, turns: pd.DataFrame, measured: pd.DataFrame, duration: float) -> dict[str, float]:
    """The person's measures from turns alone."""
    nan = float("nan")
    seconds, shares = speaking_time(turns), talk_share(turns)
    if person not in seconds:
        return dict.fromkeys(names("person"), nan)
    own = (turns["person"] == person).fillna(False) & (turns["end"] > turns["start"])
    back = measured["backchannel"].fillna(False).astype(bool)
    held = own & ~back
    others = turns[(turns["person"] != person).fillna(False) & (turns["end"] > turns["start"])]
    others_speak = float(np.diff(merged(others[["start", "end"]].to_numpy(float)), axis=1).sum())
    return {
        "speaking_time": float(seconds[person]),
        "talk_share": float(shares[person]) if len(shares) > 1 else nan,
        "turn_rate": float(held.sum()) / (duration / 60) if duration > 0 else nan,
        "turn_duration": float(measured.loc[held, "duration"].median()),
        "latency": float(measured.loc[own, "latency"].median()),
        "backchannel_rate": float((own & back).sum()) / (others_speak / 60) if others_speak > 0 else nan,
    }


def _synchrony(
    turns: pd.DataFrame,
    measured: pd.DataFrame,
    passed: list[Exchange],
    people: list[str],
    voices: Mapping[str, VoiceTrack],
    settings: SynchronySettings,
) -> dict[str, float]:
    """Vocal synchrony of two persons, in both signals."""
    timed = turns[(turns["end"] > turns["start"]) & turns["person"].notna()]
    out: dict[str, float] = {}
    frames: dict[str, list[tuple[Values, Values, Values]]] = {person: [] for person in people}
    for label, inside, track in _own_frames(timed, timed, voices):
        voiced = inside & np.isfinite(track.log_f0)
        turn = timed.loc[label]
        frames[turn["person"]].append((track.times[voiced] - turn["shift"], track.log_f0[voiced], track.energy[voiced]))
    for place, signal in ((1, "f0"), (2, "energy")):
        values = np.log(measured["f0"]) if signal == "f0" else measured["energy"]
        pairs = [
            (e.before, e.after) if turns.loc[e.before, "person"] == people[0] else (e.after, e.before) for e in passed
        ]
        one = np.array([values[first] for first, _ in pairs], dtype=np.float64)
        two = np.array([values[second] for _, second in pairs], dtype=np.float64)
        local = turn_synchrony(one, two)
        out[f"{signal}_turn_synchrony"] = local.value
        out |= {f"{signal}_turn_synchrony_{part}": getattr(local, part) for part in ("beyond_drift", "p")}
        if not all(frames.values()):
            continue
        grid = np.arange(timed["start"].min() + settings.window / 2, timed["end"].max(), settings.step)
        series = []
        for person in people:
            times, spoken = (np.concatenate([part[column] for part in frames[person]]) for column in (0, place))
            order = np.argsort(times, kind="stable")
            least = round(LEAST_VOICED_WINDOW / HOP)
            series.append(moving_average(times[order], spoken[order], grid, settings.window, least=least))
        lagged = lagged_synchrony(series[0], series[1], settings)
        out[f"{signal}_synchrony"] = lagged.value
        for part in ("chance", "effect", "p", "peak", "lag"):
            out[f"{signal}_synchrony_{part}"] = getattr(lagged, part)
    return out


def _read_voices(manifest: Manifest, rows: pd.DataFrame) -> dict[str, VoiceTrack]:
    """The sound of the session's recordings, by file; one that has none or cannot be read is left out and logged."""
    voices = {}
    for file, own in rows.groupby(rows["audio"].fillna(rows["video"]), sort=False):
        path, place = manifest.path(str(file)), _place(manifest, own, "video" if own["audio"].isna().all() else "audio")
        try:
            spans = _spans(*_sound_times(own))
            with named_by({path: place}), unforeseen_as(MediaError, path):
                voices[str(file)] = read_voice(path, spans)
        except MediaError as error:
            log.warning("%s: no sound: %s", place, pathless(error, path))
    return voices


def _read_faces(
    manifest: Manifest, rows: pd.DataFrame, by: str, detector: FaceDetector, sides: Mapping[str, Side] | None
) -> dict[tuple[str, str], FaceTrack]:
    """The faces of the session's recordings, by file and person."""
    faces = {}
    for file, own in rows.groupby("video", sort=False):
        people = sorted(own[by].dropna().unique(), key=natural)
        path, place = manifest.path(str(file)), _place(manifest, own, "video")
        seats = sides or _seats(own, by, manifest)
        if seats is None and len(people) != 1:
            log.warning(
                "%s: the turns of %d people are in one picture; say who sits where (column face_side, or --left and "
                "--right) to measure their faces",
                place,
                len(people),
            )
            continue
        try:
            with named_by({path: place}), unforeseen_as(MediaError, path):
                tracks = read_faces(path, _spans(own["start"], own["end"]), detector, sides=seats)
        except MediaError as error:
            log.warning("%s: no faces: %s", place, pathless(error, path))
            continue
        if seats is None:
            faces[str(file), people[0]] = tracks[""]
        else:
            faces |= {(str(file), person): track for person, track in tracks.items()}
    return faces


def _place(manifest: Manifest, rows: pd.DataFrame, column: str) -> str:
    """Where the table names the file of some of its rows."""
    return manifest.place(int(manifest.table.index.get_indexer(rows.index[:1])[0]), column)


def _seats(rows: pd.DataFrame, by: str, manifest: Manifest) -> dict[str, Side] | None:
    """Who sits in which half of one recording's picture; None where that is not said of everybody.

    Raises:
        ManifestError: a side is neither left nor right, or one person sits on both.
    """
    if "face_side" not in rows or rows["face_side"].isna().any():
        return None
    seats: dict[str, Side] = {}
    for label, person, side in rows[[by, "face_side"]].dropna().drop_duplicates().itertuples():
        if side not in ("left", "right") or person in seats:
            what = "another side" if person in seats else "no side"
            raise ManifestError(
                f"{_place(manifest, rows.loc[[label]], 'face_side')}: {what}; write left or right, as the picture "
                "shows it, the same for all turns of a person in one recording"
            )
        seats[str(person)] = side
    return seats


def _sound_times(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Start and end of each turn in the file that its sound is in, s.

    Raises:
        ManifestError: an offset is no number.
    """
    start, end = rows["start"].astype(float), rows["end"].astype(float)
    if "audio_offset" not in rows or "audio" not in rows:
        return start, end
    offset = pd.to_numeric(rows["audio_offset"], errors="coerce").astype(float)
    bad = rows.index[offset.isna() & rows["audio_offset"].notna()]
    if len(bad):
        raise ManifestError(
            f"row {row_number(rows.index, int(np.flatnonzero(rows.index == bad[0])[0]))}, column 'audio_offset': not a "
            "number; write seconds or leave it empty"
        )
    offset = offset.fillna(0.0).where(rows["audio"].notna(), 0.0)
    return start + offset, end + offset


def _spans(starts: pd.Series, ends: pd.Series) -> list[tuple[float | None, float | None]]:
    return [
        (None if pd.isna(start) else float(start), None if pd.isna(end) else float(end))
        for start, end in zip(starts, ends, strict=True)
    ]
