"""Whole sessions: from a table of turns and real files to the tables of measures."""

import wave
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders.talking_face import write_talking_face
from subtext.behaviour import face, voice
from subtext.behaviour.measures import MEASURES, measures_markdown, names
from subtext.behaviour.session import BehaviourSettings, SessionBehaviour, measure_manifest, measure_session
from subtext.behaviour.synchrony import SynchronySettings
from subtext.behaviour.voice import read_voice
from subtext.errors import ManifestError
from subtext.manifest import Manifest, build_manifest
from subtext.media.face_detectors import make_detector

RATE = 16_000
SECONDS = 600


def course(times: np.ndarray, seed: int) -> np.ndarray:
    """A slow random melody between about -2 and 2, the same at the same times."""
    generator = np.random.default_rng(seed)
    periods, phases = generator.uniform(25, 70, 6), generator.uniform(0, 2 * np.pi, 6)
    return np.sum([np.sin(2 * np.pi * times / p + q) for p, q in zip(periods, phases, strict=True)], axis=0) / 1.8


def hum(f0: np.ndarray, level_db: np.ndarray) -> np.ndarray:
    """A voice-like sound of a given F0 (Hz) and level, `[samples]`."""
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    sound = sum(np.sin(k * phase) / k for k in range(1, 6))
    return sound * 10 ** (level_db / 20)


def measure(manifest: Manifest, **settings: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sessions with the measures of their people beside, as in `client_talk_share`; and turns."""
    found = measure_manifest(manifest, **settings)
    by = settings.get("by", "role")
    wide = found.people.pivot(index="session", columns=by)
    wide.columns = pd.Index([f"{person}_{name}" for name, person in wide.columns])
    return found.sessions.merge(wide.reset_index(), on="session"), found.turns


def flat(measured: SessionBehaviour) -> dict[str, float]:
    """The measures of a session and of its people, as in `client_talk_share`."""
    people = {f"{p}_{name}": value for p, row in measured.people.iterrows() for name, value in row.items()}
    return measured.session | people


def write_wav(path: Path, sound: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def alternating_turns(length: float = 5.0, pause: float = 0.5, seconds: float = SECONDS) -> pd.DataFrame:
    """Client and counsellor in turn, each for the same time, with the same pause between."""
    starts = np.arange(0, seconds - length, length + pause)
    return pd.DataFrame(
        {
            "id": [f"turn {n}" for n in range(len(starts))],
            "session": "s1",
            "role": np.where(np.arange(len(starts)) % 2, "counsellor", "client"),
            "start": starts,
            "end": starts + length,
        }
    )


def conversation(path: Path, *, lag: float | None) -> pd.DataFrame:
    """Write one recording of both voices; the counsellor's F0 follows the client's `lag` s later, or (None) is its own.

    Their levels are independent.
    """
    turns = alternating_turns()
    sound = np.random.default_rng(0).normal(0, 1e-4, SECONDS * RATE).astype(np.float32)
    for role, start, end in zip(turns["role"], turns["start"], turns["end"], strict=True):
        part = slice(round(start * RATE), round(end * RATE))
        # The melodies change slowly: a value every 0.1 s tells them.
        coarse, fine = np.arange(start - 1, end + 1, 0.1), np.arange(part.start, part.stop) / RATE
        if role == "client":
            base, melody, level = 140, course(coarse, 0), course(coarse, 2)
        else:
            base, level = 210, course(coarse, 3)
            melody = course(coarse, 1) if lag is None else course(coarse - lag, 0)
        sound[part] += hum(
            base * np.exp(0.1 * np.interp(fine, coarse, melody)), -20 + 2 * np.interp(fine, coarse, level)
        )
    write_wav(path, sound)
    return turns.assign(audio=path.name)


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("following")
    return build_manifest(conversation(root / "both.wav", lag=10.0), root=root, name="following", groups=("session",))


@pytest.fixture(scope="module")
def followed(following: Manifest) -> tuple[pd.DataFrame, pd.DataFrame]:
    return measure(following)


def test_f0_of_each_turn_is_that_of_its_speaker(followed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    _, turns = followed
    middle = np.array([5.5 * n + 2.5 for n in range(len(turns))])
    client = (turns["role"] == "client").to_numpy()
    expected = np.where(client, 140 * np.exp(0.1 * course(middle, 0)), 210 * np.exp(0.1 * course(middle - 10, 0)))
    assert turns["f0"].to_numpy() == pytest.approx(expected, rel=0.05)
    assert (turns["voiced_share"] > 0.95).all()
    # 5 partials of amplitude 1/k: mean square of 0.73, 1.4 dB below that of a square of 1.
    level = -20 + 2 * np.where(client, course(middle, 2), course(middle, 3)) + 10 * np.log10(0.5 * 1.4636)
    assert turns["energy"].to_numpy() == pytest.approx(level, abs=1.0)


def test_f0_that_follows_after_10_s_is_found(followed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    (session,) = followed[0].to_dict("records")
    assert session["f0_synchrony_lag"] == 10.0
    assert session["f0_synchrony_peak"] > 0.8
    assert session["f0_synchrony"] > session["f0_synchrony_chance"]
    assert session["f0_synchrony_p"] < 0.05


def test_levels_that_have_nothing_to_do_with_each_other_are_within_chance(
    followed: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    (session,) = followed[0].to_dict("records")
    assert session["energy_synchrony_p"] > 0.05
    assert session["energy_turn_synchrony_p"] > 0.05


def test_turn_taking_of_the_session(followed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    sessions, turns = followed
    (session,) = sessions.to_dict("records")
    assert session["turn_count"] == len(turns) == 109
    assert session["duration"] == pytest.approx(5.5 * 108 + 5)
    assert session["overlap_share"] == 0.0
    assert session["client_latency"] == pytest.approx(0.5)
    assert session["client_talk_share"] == pytest.approx(55 / 109)
    assert session["client_talk_share"] + session["counsellor_talk_share"] == pytest.approx(1.0)
    assert session["counsellor_turn_rate"] == pytest.approx(54 / (599 / 60))
    assert session["counsellor_backchannel_rate"] == 0.0


def test_what_is_not_there_is_missing(followed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    sessions, turns = followed
    faces = ["facing_share", "head_speed", "face_share"]
    assert turns[faces].isna().all().all()
    assert sessions[[f"{role}_{name}" for role in ("client", "counsellor") for name in faces]].isna().all().all()


def test_the_registry_names_every_column(following: Manifest) -> None:
    found = measure_manifest(following.with_table(following.table.head(12)))
    assert list(found.sessions) == ["session", *names("session")]
    assert list(found.people) == ["session", "role", *names("person")]
    assert found.people["role"].tolist() == ["client", "counsellor"]
    assert list(found.turns) == ["id", "session", "role", *names("turn")]
    assert all(measure.formula and measure.source and measure.caution and measure.range for measure in MEASURES)
    assert len({(measure.level, measure.name) for measure in MEASURES}) == len(MEASURES)
    assert measures_markdown().count("\n") == len(MEASURES) + 1


def test_values_are_within_the_ranges_that_the_registry_states(followed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    sessions, turns = followed
    shares = [m.name for m in MEASURES if m.level == "turn" and m.range == "0 to 1"]
    assert turns[shares].stack().dropna().between(0, 1).all()
    assert turns["f0"].between(60, 500).all()
    correlations = [m.name for m in MEASURES if m.level == "session" and m.range in ("-1 to 1", "0 to 1")]
    assert sessions[correlations].stack().dropna().between(-1, 1).all()


def test_every_recording_is_read_once(following: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[str] = Counter()
    real = voice.read_segments

    def counted(path: Path, *rest: object, **more: object) -> object:
        reads[path.name] += 1
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(voice, "read_segments", counted)
    measure(following.with_table(following.table.head(20)))
    assert reads == {"both.wav": 1}


def test_independent_voices_are_within_chance(tmp_path: Path) -> None:
    turns = conversation(tmp_path / "both.wav", lag=None)
    track = read_voice(tmp_path / "both.wav", [(0.0, SECONDS)])
    session = flat(measure_session(turns, voices={"both.wav": track}))
    assert session["f0_synchrony_p"] > 0.05
    assert session["f0_turn_synchrony_p"] > 0.05


def test_a_recording_that_began_late_is_placed_by_the_sessions_clock(following: Manifest, tmp_path: Path) -> None:
    """Two files, one a person, of which the counsellor's began 7 s later."""
    track = read_voice(following.path("both.wav"), [(0.0, SECONDS)])
    late = voice.VoiceTrack(track.times - 7.0, track.log_f0, track.energy)
    rows = following.table.assign(turn_start=following.table["start"], turn_end=following.table["end"])
    counsellor = rows["role"] == "counsellor"
    rows.loc[counsellor, ["start", "end"]] -= 7.0
    rows.loc[counsellor, "audio"] = "late.wav"
    apart = measure_session(rows, voices={"both.wav": track, "late.wav": late})
    together = measure_session(following.table, voices={"both.wav": track})
    pd.testing.assert_frame_equal(apart.turns, together.turns, rtol=1e-9)
    for name, value in flat(together).items():
        assert flat(apart)[name] == pytest.approx(value, nan_ok=True), name


def test_a_microphone_that_ran_earlier_is_read_by_its_offset(following: Manifest) -> None:
    """Turns timed by a camera that started 4 s after the microphone."""
    rows = following.table.iloc[1:].assign(audio_offset=4.0)
    rows[["start", "end"]] -= 4.0
    _, shifted = measure(following.with_table(rows))
    _, plain = measure(following.with_table(following.table.iloc[1:]))
    assert shifted["f0"].to_numpy() == pytest.approx(plain["f0"].to_numpy(), rel=1e-3)
    assert shifted["latency"].to_numpy() == pytest.approx(plain["latency"].to_numpy(), nan_ok=True)
    with pytest.raises(ManifestError, match="row 2, column 'audio_offset': not a number"):
        measure(following.with_table(rows.assign(audio_offset="soon")))


def test_a_segment_that_is_a_part_of_its_turn_does_not_move_the_others(following: Manifest) -> None:
    track = read_voice(following.path("both.wav"), [(0.0, SECONDS)])
    rows = following.table.assign(turn_start=following.table["start"], turn_end=following.table["end"])
    whole = measure_session(rows, voices={"both.wav": track})
    rows.loc[10, "start"] += 2.0
    part = measure_session(rows, voices={"both.wav": track})
    unchanged = whole.turns.index != 10
    pd.testing.assert_frame_equal(whole.turns[unchanged], part.turns[unchanged])
    assert part.turns.loc[10, "duration"] == 5.0
    assert part.turns.loc[10, "f0"] != whole.turns.loc[10, "f0"]


def test_of_one_person_alone_nothing_is_compared(caplog: pytest.LogCaptureFixture) -> None:
    rows = alternating_turns().query("role == 'client'").assign(transcript="Well.")
    manifest = build_manifest(rows, root=Path(), name="clients", groups=("session",))
    sessions, turns = measure(manifest)
    assert "1 of 1 sessions have turns of one person only" in caplog.text
    missing = sessions.loc[0, ["overlap_share", "client_talk_share", "client_latency", "client_backchannel_rate"]]
    assert missing.isna().all()
    assert turns[["overlap_share", "backchannel", "latency"]].isna().all().all()
    assert sessions.loc[0, "client_speaking_time"] == pytest.approx(len(rows) * 5.0)


def test_the_column_face_side_tells_two_people_in_view_apart(tmp_path: Path) -> None:
    write_talking_face(tmp_path / "both.mp4", 2.0)
    rows = alternating_turns(length=0.8, pause=0.2, seconds=2.0).assign(video="both.mp4")
    rows["face_side"] = rows["role"].map({"client": "left", "counsellor": "right"})
    manifest = build_manifest(rows, root=tmp_path, name="two", groups=("session",))
    by_column, _ = measure(manifest, detector=make_detector("haar"), sound=False)
    sides: dict[str, face.Side] = {"client": "left", "counsellor": "right"}
    by_option, _ = measure(manifest, detector=make_detector("haar"), sides=sides, sound=False)
    pd.testing.assert_frame_equal(by_column, by_option)
    assert by_column.loc[0, ["client_face_share", "counsellor_face_share"]].sum() > 0.5
    wrong = manifest.with_table(manifest.table.assign(face_side="middle"))
    with pytest.raises(ManifestError, match=r"row 1, column 'face_side': no side; write left or right"):
        measure(wrong, detector=make_detector("haar"), sound=False)


def test_one_file_a_turn_has_no_common_clock(caplog: pytest.LogCaptureFixture) -> None:
    rows = alternating_turns().head(6).assign(start=0.0, end=5.0, video=[f"{n}.mp4" for n in range(6)])
    measured = measure_session(rows)
    assert "3 recordings" in caplog.text
    assert measured.turns["duration"].tolist() == [5.0] * 6
    assert measured.turns[["latency", "overlap_share", "backchannel"]].isna().all().all()
    assert np.isnan(flat(measured)["client_talk_share"])


def test_overlapped_speech_is_not_measured_as_either_voice(tmp_path: Path) -> None:
    times = np.arange(20 * RATE) / RATE
    sound = hum(np.full(len(times), 120.0), np.full(len(times), -20.0))
    sound[10 * RATE :] = hum(np.full(10 * RATE, 240.0), np.full(10 * RATE, -10.0))
    write_wav(tmp_path / "both.wav", sound)
    rows = pd.DataFrame(
        {"role": ["client", "counsellor"], "start": [0.0, 10.0], "end": [15.0, 20.0], "audio": "both.wav"}
    )
    measured = measure_session(rows, voices={"both.wav": read_voice(tmp_path / "both.wav", [(0, 20)])})
    assert measured.turns["f0"].tolist() == pytest.approx([120.0, 240.0], rel=0.02)
    assert measured.turns["overlap_share"].tolist() == pytest.approx([1 / 3, 0.5])


def test_silence_and_turns_outside_the_recording_are_missing(tmp_path: Path) -> None:
    write_wav(tmp_path / "silence.wav", np.zeros(10 * RATE))
    rows = pd.DataFrame(
        {"role": ["client", "counsellor"], "start": [0.0, 20.0], "end": [5.0, 25.0], "audio": "silence.wav"}
    )
    track = read_voice(tmp_path / "silence.wav", [(0.0, 5.0), (20.0, 25.0)])
    measured = measure_session(rows, voices={"silence.wav": track})
    assert measured.turns["f0"].isna().all()
    assert measured.turns["energy"].isna().all()
    assert measured.turns["voiced_share"].tolist()[0] == 0.0
    assert np.isnan(measured.turns["voiced_share"].tolist()[1])


def test_voice_in_many_stretches_is_that_of_the_whole(following: Manifest) -> None:
    path = following.path("both.wav")
    whole = read_voice(path, [(None, 130.0)])
    parts = read_voice(path, [(100.0, 130.0), (20.0, 45.0), (40.0, 50.0)])
    assert len(whole.times) == pytest.approx(130 / voice.HOP, abs=2)
    assert np.all(np.diff(whole.times) > 0)
    assert np.all(np.diff(parts.times) > 0)
    seconds = len(parts.times) * voice.HOP
    assert seconds == pytest.approx(60.0, abs=0.1)
    same = np.isin(np.round(whole.times, 3), np.round(parts.times, 3))
    assert np.nanmedian(np.abs(whole.log_f0[same] - parts.log_f0)) < 0.005


def test_a_real_face_and_voice_from_one_file(tmp_path: Path) -> None:
    write_talking_face(tmp_path / "client.mp4", 6.0)
    rows = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "session": "s",
            "role": ["client", "counsellor", "client"],
            "start": [0.0, 2.6, 3.5],
            "end": [2.5, 3.4, 6.0],
            "video": ["client.mp4", None, "client.mp4"],
        }
    )
    manifest = build_manifest(rows, root=tmp_path, name="small", groups=("session",))
    sessions, turns = measure(manifest, detector=make_detector("haar"))
    assert turns["face_share"].tolist()[::2] == [1.0, 1.0]
    assert (turns["head_speed"][::2] < 1.0).all()
    assert turns["f0"][::2].between(60, 500).all()
    assert turns.loc[1, ["f0", "energy", "voiced_share", "head_speed", "face_share"]].isna().all()
    assert turns["facing_share"].isna().all()  # haar gives no landmarks
    assert sessions.loc[0, "client_face_share"] == 1.0
    assert np.isnan(sessions.loc[0, "counsellor_face_share"])
    assert np.isnan(sessions.loc[0, "f0_synchrony"])


def test_real_clips_of_an_actor(shared_data: Path, shared_models: Path) -> None:
    clips = sorted((shared_data / "crema_d" / "VideoFlash").glob("*.flv"))[:2]
    rows = pd.DataFrame(
        {"id": ["1", "2"], "session": ["a", "b"], "role": "client", "video": [clip.name for clip in clips]}
    )
    manifest = build_manifest(rows, root=clips[0].parent, name="actor", groups=("session",))
    sessions, turns = measure(manifest, detector=make_detector("yunet", shared_models))
    assert turns["f0"].between(80, 300).all()
    assert (turns["facing_share"] > 0.9).all()
    assert turns["latency"].isna().all()
    assert (sessions["client_face_share"] == 1.0).all()
    assert sessions["client_talk_share"].isna().all()  # no times


def test_faces_of_two_people_in_one_picture_need_to_be_told_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_talking_face(tmp_path / "both.mp4", 4.0)
    rows = alternating_turns(length=1.0, pause=0.2, seconds=4.0).assign(video="both.mp4")
    manifest = build_manifest(rows, root=tmp_path, name="two", groups=("session",))
    sessions, _ = measure(manifest, detector=make_detector("haar"), sound=False)
    assert "who sits where" in caplog.text
    assert np.isnan(sessions.loc[0, "client_face_share"])
    reads: Counter[str] = Counter()
    real = face.sample_frames

    def counted(path: Path, *rest: object, **more: object) -> object:
        reads[path.name] += 1
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(face, "sample_frames", counted)
    sides: dict[str, face.Side] = {"client": "left", "counsellor": "right"}
    sessions, _ = measure(manifest, detector=make_detector("haar"), sides=sides, sound=False)
    # The one face is in one half of the picture; nobody is in the other.
    assert sorted([sessions.loc[0, "client_face_share"], sessions.loc[0, "counsellor_face_share"]])[0] < 0.5
    assert reads == {"both.mp4": 1}


def test_a_damaged_recording_leaves_the_rest_measured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "damaged.wav").write_bytes(b"RIFF\x00\x00")
    rows = alternating_turns().head(10).assign(audio="damaged.wav")
    manifest = build_manifest(rows, root=tmp_path, name="damaged", groups=("session",))
    sessions, turns = measure(manifest)
    assert "row 1, column 'audio': no sound: cannot be opened" in caplog.text
    assert "damaged.wav" not in caplog.text
    assert turns["f0"].isna().all()
    assert sessions.loc[0, "client_latency"] == pytest.approx(0.5)


def test_turns_keep_the_manifests_order_and_sessions_are_apart() -> None:
    one, two = alternating_turns().head(6), alternating_turns().head(6)
    rows = pd.concat([one.assign(session="b"), two.assign(session="a", id=two["id"] + "'")]).sample(
        frac=1, random_state=0
    )
    manifest = build_manifest(rows.assign(transcript="Well."), root=Path(), name="two", groups=("session",))
    sessions, turns = measure(manifest)
    assert turns["id"].tolist() == rows["id"].tolist()
    assert sorted(sessions["session"]) == ["a", "b"]
    assert sessions["client_talk_share"].tolist() == [0.5, 0.5]
    assert "transcript" not in turns


def test_a_third_person_ends_the_pair_measures_but_not_the_others() -> None:
    rows = alternating_turns().head(12)
    rows.loc[5, "role"] = "observer"
    session = flat(measure_session(rows))
    assert np.isnan(session["f0_turn_synchrony"])
    shares = [session[f"{role}_talk_share"] for role in ("client", "counsellor", "observer")]
    assert sum(shares) == pytest.approx(1.0)


def test_speakers_can_stand_in_for_roles() -> None:
    rows = alternating_turns().head(6).rename(columns={"role": "speaker"})
    assert "client_talk_share" in flat(measure_session(rows, by="speaker"))
    manifest = build_manifest(rows.assign(transcript="Well."), root=Path(), name="mine", groups=("session",))
    with pytest.raises(ManifestError, match=r"mine: column 'role' says of no turn who speaks.*--by speaker"):
        measure(manifest)
    sessions, _ = measure(manifest, by="speaker")
    assert sessions.loc[0, "client_talk_share"] == 0.5


def test_no_session_is_an_error_with_its_remedy() -> None:
    rows = alternating_turns().head(6).drop(columns="session").assign(transcript="Well.")
    manifest = build_manifest(rows, root=Path(), name="mine", groups=("role",))
    with pytest.raises(ManifestError, match="fill the column 'session'"):
        measure(manifest)


def test_settings_reach_the_measures(following: Manifest) -> None:
    track = read_voice(following.path("both.wav"), [(0.0, SECONDS)])
    narrow = BehaviourSettings(synchrony=SynchronySettings(max_lag=5.0))
    session = flat(measure_session(following.table, voices={"both.wav": track}, settings=narrow))
    assert abs(session["f0_synchrony_lag"]) <= 5.0
