"""Leaks that only the media show: copies, and labels that follow how a file was made."""

import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import soundfile

from subtext.audit import Audit, audit_corpus
from subtext.audit.fingerprints import picture_fingerprint, sound_fingerprint
from subtext.manifest import Manifest, build_manifest
from subtext.media.video import read_image

RATE = 8000
ROWS = 120


def sound(rng: np.random.Generator) -> np.ndarray:
    """Two and a half seconds of noise with syllables of its own."""
    n = 5 * RATE // 2
    envelope = np.interp(np.arange(n), np.linspace(0, n, 14), rng.uniform(0.02, 1, 14))
    tone = np.sin(2 * np.pi * rng.uniform(150, 900) * np.arange(n) / RATE)
    return (0.2 * envelope * (tone + 0.3 * rng.normal(size=n))).astype(np.float32)


def picture(rng: np.random.Generator) -> np.ndarray:
    """Smooth blobs, uint8 BGR, 96 x 96."""
    small = rng.integers(70, 170, (7, 7, 3)).astype(np.float32)
    return cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> Manifest:
    """Rows with a sound and a picture each, speakers apart, labels that follow nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(ROWS):
        soundfile.write(tmp_path / f"{number}.wav", sound(rng), RATE)
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture(rng), [cv2.IMWRITE_JPEG_QUALITY, 90])
        speaker = number // 4
        rows.append(
            {
                "id": f"r{number}",
                "speaker": f"s{speaker}",
                "audio": f"{number}.wav",
                "image": f"{number}.jpg",
                "incongruent": bool(rng.random() < 0.5),
                "split": ("train", "train", "val", "test")[speaker % 4],
            }
        )
    return build_manifest(pd.DataFrame(rows), root=tmp_path, name="files", groups=("speaker",))


def alarms(found: Audit) -> set[str]:
    return {finding.subject for finding in found.alarms}


def first(manifest: Manifest, split: str) -> int:
    return int(np.flatnonzero(manifest.table["split"] == split)[0])


def positive(manifest: Manifest) -> list[int]:
    return [int(row) for row in np.flatnonzero(manifest.table["incongruent"])]


def test_clean_files_raise_no_alarm(files: Manifest) -> None:
    found = audit_corpus(files, media="content")
    assert found.alarms == ()
    assert {"loudness", "brightness", "warmth", "bits_per_pixel"} <= set(found.predictability["variable"])
    assert {"audio copy", "near audio copy", "near picture copy"} <= set(found.overlap["unit"])


def test_exact_copies_under_other_names_are_found_from_headers_on(files: Manifest) -> None:
    source, copy = first(files, "train"), first(files, "test")
    for ending in ("wav", "jpg"):
        (files.root / f"{copy}.{ending}").write_bytes((files.root / f"{source}.{ending}").read_bytes())
    found = audit_corpus(files, media="headers")
    assert alarms(found) == {"audio copy", "image copy"}
    assert {finding.examples for finding in found.alarms} == {(f"r{copy}",)}
    assert alarms(audit_corpus(files)) == set()  # nothing was read


def test_re_encoded_copies_are_found(files: Manifest) -> None:
    source, copy = first(files, "train"), first(files, "test")
    samples, rate = soundfile.read(files.root / f"{source}.wav", dtype="float32")
    soundfile.write(files.root / f"{copy}.ogg", 0.4 * samples, rate, format="OGG", subtype="VORBIS")
    image = cv2.imread(str(files.root / f"{source}.jpg"))
    brighter = cv2.resize(cv2.convertScaleAbs(image, alpha=1.1, beta=8), (64, 64), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(files.root / f"{copy}.jpg"), brighter, [cv2.IMWRITE_JPEG_QUALITY, 50])
    table = files.table.copy()
    table.loc[copy, "audio"] = f"{copy}.ogg"
    found = audit_corpus(files.with_table(table), media="content")
    assert alarms(found) == {"near audio copy", "near picture copy"}
    assert {finding.examples for finding in found.alarms} == {(f"r{copy}",)}


def test_a_label_that_follows_loudness_is_found(files: Manifest) -> None:
    for row in positive(files):
        samples, rate = soundfile.read(files.root / f"{row}.wav", dtype="float32")
        soundfile.write(files.root / f"{row}.wav", 1.6 * samples, rate)
    assert "loudness" in alarms(audit_corpus(files, media="content"))


def test_a_label_that_follows_duration_of_whole_files_is_found(files: Manifest) -> None:
    rng = np.random.default_rng(1)
    for row in range(len(files)):
        samples, rate = soundfile.read(files.root / f"{row}.wav", dtype="float32")
        length = 0.6 + 0.2 * rng.random() + 0.1 * bool(files.table["incongruent"][row])
        soundfile.write(files.root / f"{row}.wav", samples[: int(length * rate)], rate)
    assert "file_duration" in alarms(audit_corpus(files, media="headers"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "change"),
    [
        ("resolution", lambda image: (cv2.resize(image, (112, 112)), 90)),
        ("bits_per_pixel", lambda image: (image, 97)),
        ("brightness", lambda image: (cv2.add(image, np.full_like(image, 25)), 90)),
        ("warmth", lambda image: (cv2.add(image, np.full_like(image, (0, 0, 30))), 90)),
    ],
)
def test_a_label_that_follows_how_pictures_were_made_is_found(files: Manifest, variable: str, change: object) -> None:
    for row in positive(files):
        path = str(files.root / f"{row}.jpg")
        image, quality = change(cv2.imread(path))  # type: ignore[operator]
        cv2.imwrite(path, image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    depth = "headers" if variable in ("resolution", "bits_per_pixel") else "content"
    found = audit_corpus(files, media=depth)  # type: ignore[arg-type]
    assert variable in alarms(found)


def test_a_label_that_follows_the_bit_rate_is_found(files: Manifest) -> None:
    rng = np.random.default_rng(2)
    table = files.table.copy()
    for row in range(len(files)):
        samples, rate = soundfile.read(files.root / f"{row}.wav", dtype="float32")
        level = 0.2 if table["incongruent"][row] and rng.random() < 0.9 else 0.8
        soundfile.write(
            files.root / f"{row}.ogg", samples, rate, format="OGG", subtype="VORBIS", compression_level=level
        )
    table["audio"] = [f"{row}.ogg" for row in range(len(files))]
    assert "bitrate" in alarms(audit_corpus(files.with_table(table), media="headers"))


def test_a_label_that_follows_the_size_of_the_face_is_found(tmp_path: Path, shared_data: Path) -> None:
    """Photographs on grey canvases, those of one class larger."""
    labels = pd.read_csv(shared_data / "faces" / "labels.csv")
    chosen = labels[labels["source"] == "lfw"].drop_duplicates("identity").head(80)
    rows = []
    for number, name in enumerate(chosen["image"]):
        photograph = read_image(next((shared_data / "faces").rglob(Path(name).name)))
        side = 260 if number % 2 else 170
        canvas = np.full((300, 300, 3), 128, dtype=np.uint8)
        place = (300 - side) // 2
        canvas[place : place + side, place : place + side] = cv2.resize(photograph, (side, side))
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), canvas[:, :, ::-1])
        rows.append(
            {"id": f"r{number}", "speaker": f"s{number}", "image": f"{number}.jpg", "incongruent": number % 2 == 1}
        )
    manifest = build_manifest(pd.DataFrame(rows), root=tmp_path, name="faces", groups=("speaker",))
    assert "face_height" in alarms(audit_corpus(manifest, media="content"))


def test_files_that_cannot_be_read_are_counted(files: Manifest) -> None:
    (files.root / "0.wav").write_bytes(b"")
    (files.root / "1.jpg").unlink()
    assert "2 files could not be read" in audit_corpus(files, media="headers").skipped


def test_two_takes_of_a_sentence_are_no_copies_but_re_encodings_are(shared_data: Path) -> None:
    prints, copies = [], []
    for path in sorted((shared_data / "ravdess" / "Actor_03").glob("*.flac")):
        samples, rate = soundfile.read(path, dtype="float32")
        coded = io.BytesIO()
        soundfile.write(coded, 0.3 * samples, rate, format="OGG", subtype="VORBIS")
        coded.seek(0)
        prints.append(sound_fingerprint(samples, rate))
        copies.append(sound_fingerprint(soundfile.read(coded, dtype="float32")[0], rate))
    alike = np.array(prints) @ np.array(copies).T
    assert np.diagonal(alike).min() > 0.99
    assert (alike - np.diag(np.diagonal(alike))).max() < 0.985


def test_silence_and_blank_pictures_have_no_fingerprint() -> None:
    assert sound_fingerprint(np.zeros(16000, dtype=np.float32)) is None
    assert sound_fingerprint(np.ones(100, dtype=np.float32)) is None
    assert picture_fingerprint(np.full((50, 50, 3), 7, dtype=np.uint8)) is None
