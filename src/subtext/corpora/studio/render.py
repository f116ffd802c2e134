"""From one row of the plan to one mp4 file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.core.writing import replacing
from subtext.corpora.studio.face import CANVAS, CENTRE, Expression, Head, Image
from subtext.corpora.studio.plan import clip_id
from subtext.corpora.studio.speakers import Look, Speaker, draw_speaker
from subtext.corpora.studio.voice import Waveform, draw_delivery, speak
from subtext.corpora.studio.write import write_mp4

SAMPLE_RATE: Final = 16_000
"""How the name of a file begins that is being written."""
STAGE: Final = (320, 240)
"""Pictures are drawn at this width and height, then brought to the size asked for."""
_HEAD_SCALE: Final = 0.64
_HEAD_Y: Final = 0.45
_GRAIN: Final = 64
_PRESET: Final = "superfast"


@dataclass(frozen=True)
class PictureFormat:
    """Size of the pictures in px and frames per second."""

    width: int = 320
    height: int = 240
    fps: float = 12.5


@dataclass(frozen=True)
class Clip:
    """One row of the plan.

    See `subtext.corpora.studio.plan` for what the values mean; `number` chooses everything that chance decides within
    the clip.
    """

    number: int
    path: Path
    speaker_number: int
    face: int
    voice: int
    face_shown: bool
    sound_recorded: bool
    occluded: bool
    face_intensity: float
    voice_intensity: float
    duration: float
    face_scale: float
    light: float
    light_angle: float
    contrast: float
    warmth: float
    picture_noise: float
    sound_noise: float
    gain_db: float
    occluder: int


def render_clip(clip: Clip, seed: int, picture: PictureFormat) -> Path:
    """Draw, speak and write one clip, unless its file is there.

    The file appears whole or not at all, and depends on the seed and the clip only, not on who renders it.
    """
    if clip.path.is_file():
        return clip.path
    speaker = draw_speaker(seed, clip.speaker_number)
    waveform, mouth = _sound(clip, speaker, np.random.default_rng([seed, 21, clip.number]))
    frames = _frames(clip, speaker, mouth, picture, np.random.default_rng([seed, 22, clip.number]))
    with replacing(clip.path) as part:
        write_mp4(part, frames, picture.fps, waveform if clip.sound_recorded else None, SAMPLE_RATE, preset=_PRESET)
    return clip.path


def _sound(clip: Clip, speaker: Speaker, rng: np.random.Generator) -> tuple[Waveform, Waveform]:
    """The recorded voice, and the opening of the mouth at each of its samples."""
    delivery = draw_delivery(speaker.voice, clip.voice, clip.voice_intensity, rng)
    speech, mouth = speak(delivery, speaker.voice.tract, clip.duration, SAMPLE_RATE, rng)
    # The noise belongs to the room: it does not follow the voice's loudness.
    room = rng.normal(0, speaker.voice.level * clip.sound_noise, len(speech))
    recorded = 10 ** (clip.gain_db / 20) * (speech + room)
    return np.clip(recorded, -0.98, 0.98).astype(np.float32), mouth


def _frames(
    clip: Clip, speaker: Speaker, mouth: Waveform, picture: PictureFormat, rng: np.random.Generator
) -> Iterator[Image]:
    look = speaker.look
    times = np.arange(max(round(clip.duration * picture.fps), 1)) / picture.fps
    room = _room(look, np.random.default_rng([clip.speaker_number, 31]))
    scene = _shoulders(room, look, clip) if clip.face_shown else _empty_chair(room)
    light = (float(np.cos(clip.light_angle) * clip.light), float(np.sin(clip.light_angle) * clip.light))
    head = Head(look, light, np.random.default_rng([clip.speaker_number, 32]))
    action = _Action(clip, times, mouth, rng)
    gain, offset = _light(clip)
    grain = _grain(clip.picture_noise, rng)
    for index, time in enumerate(times):
        image = scene
        if clip.face_shown:
            at, *turn = action.pose(index)
            image = _place(scene, head.draw(action.expression(index)), head.alpha, at, *turn)
            if clip.occluded:
                image = _occlude(image, look, clip, at, time / clip.duration)
        lit = cv2.multiply(image, gain, dtype=cv2.CV_32F)
        lit += offset
        top, left = rng.integers(0, _GRAIN, 2)
        noisy = cv2.add(lit, grain[top : top + STAGE[1], left : left + STAGE[0]])
        final = np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)
        if (picture.width, picture.height) != STAGE:
            final = cv2.resize(final, (picture.width, picture.height), interpolation=cv2.INTER_AREA)
        yield final


def _grain(size: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Picture noise, somewhat larger than a picture: each frame takes another part of it."""
    grain = rng.standard_normal((STAGE[1] + _GRAIN, STAGE[0] + _GRAIN), dtype=np.float32) * np.float32(size)
    return np.repeat(grain[..., None], 3, axis=2)


class _Action:
    """What the face and head do over a clip."""

    def __init__(self, clip: Clip, times: npt.NDArray[np.float64], mouth: Waveform, rng: np.random.Generator) -> None:
        self._glad = clip.face_intensity if clip.face > 0 else 0.0
        self._low = clip.face_intensity if clip.face < 0 else 0.0
        # Between sadness (0) and anger (1).
        self._anger = float(rng.beta(0.6, 0.6))
        count = len(times)
        # The expression grows, holds and wavers.
        onset = rng.uniform(0.05, 0.35) * clip.duration
        rise = np.clip((times + 0.25 * clip.duration) / (onset + 0.25 * clip.duration), 0, 1)
        self._course = (0.55 + 0.45 * rise) * (1 + 0.12 * _waver(times, rng))
        self._own = {name: rng.normal(0, size) for name, size in _OWN.items()}
        self._drift = {
            name: _waver(times, rng) for name in ("smile", "brow", "gaze_x", "gaze_y", "yaw", "pitch", "roll")
        }
        self._jaw = np.interp(times * SAMPLE_RATE, np.arange(len(mouth)), mouth) if count else mouth
        self._talk = rng.uniform(0.35, 0.75)
        blink = rng.uniform(0, clip.duration, 1 + rng.integers(2))
        self._blink = 1 - np.max(np.exp(-(((times[:, None] - blink[None]) / 0.07) ** 2)), axis=1)
        lively = 1 + 0.5 * self._glad - 0.45 * self._low
        self._motion = lively * rng.uniform(0.6, 1.3)
        self._facing = (rng.normal(0, 3.0), rng.normal(0, 2.0) + 2.5 * self._low - 1.0 * self._glad, rng.normal(0, 2.0))
        self._scale = _HEAD_SCALE * clip.face_scale
        self._at = (STAGE[0] / 2 + rng.uniform(-16, 16), STAGE[1] * _HEAD_Y + rng.uniform(-4, 6))

    def expression(self, index: int) -> Expression:
        course = float(self._course[index])
        glad, low = self._glad * course, self._low * course
        own = self._own
        jaw = self._talk * float(self._jaw[index])
        sad, angry = low * (1 - self._anger), low * self._anger
        return Expression(
            smile=glad - 0.80 * low + own["smile"] + 0.06 * float(self._drift["smile"][index]),
            stretch=0.8 * glad - 0.35 * angry + own["stretch"],
            jaw=jaw,
            teeth=0.75 * glad * (1 - 0.4 * jaw),
            brow_raise=0.25 * glad
            + 0.25 * sad
            - 0.7 * angry
            + own["brow_raise"]
            + 0.15 * float(self._drift["brow"][index]),
            brow_inner=1.0 * sad - 1.0 * angry + own["brow_inner"],
            lids=max((1 - 0.28 * sad - 0.18 * angry - 0.06 * glad + own["lids"]) * float(self._blink[index]), 0.0),
            cheeks=float(np.clip(0.9 * glad + own["cheeks"], 0, 1)),
            gaze=(0.5 * float(self._drift["gaze_x"][index]), 0.4 * float(self._drift["gaze_y"][index]) + 0.5 * sad),
        )

    def pose(self, index: int) -> tuple[tuple[float, float], float, float, float, float]:
        """Place of the head in px, scale, roll in degrees, yaw and pitch in px of the canvas."""
        yaw = self._facing[0] + 4.0 * self._motion * float(self._drift["yaw"][index])
        nod = self._facing[1] + 2.5 * self._motion * float(self._drift["pitch"][index])
        roll = self._facing[2] + 1.5 * self._motion * float(self._drift["roll"][index])
        at = (self._at[0] + 0.7 * yaw, self._at[1] + 0.9 * nod)
        return at, self._scale, roll, yaw, nod


_OWN: Final = {"smile": 0.10, "stretch": 0.16, "brow_raise": 0.20, "brow_inner": 0.16, "lids": 0.06, "cheeks": 0.08}
"""Spread of what a face does for reasons of its own, whatever its polarity."""


def _waver(times: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Slow movement of about unit size: three sines of random pace and phase."""
    pace = rng.uniform(0.25, 1.3, 3)
    phase = rng.uniform(0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * pace[:, None] * times[None] + phase[:, None]).sum(axis=0) / np.sqrt(1.5)


def _place(
    scene: Image,
    head: Image,
    alpha: Image,
    at: tuple[float, float],
    scale: float,
    roll: float,
    yaw: float,
    pitch: float,
) -> Image:
    """The head turned and laid over the scene.

    A turn shifts each point of the canvas by how far it stands out of the head, as on an ellipsoid.
    """
    wide, high = 0.62 * CANVAS[0] * scale, 0.60 * CANVAS[1] * scale
    left, top = max(int(at[0] - wide), 0), max(int(at[1] - high), 0)
    right, bottom = min(int(at[0] + wide), scene.shape[1]), min(int(at[1] + high), scene.shape[0])
    x = np.arange(left, right, dtype=np.float32)[None] - np.float32(at[0])
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(at[1])
    angle = np.deg2rad(roll)
    cos, sin = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
    u = cos * x + sin * y
    v = cos * y - sin * x
    depth = np.sqrt(np.maximum(1 - (u / 100) ** 2 - (v / 140) ** 2, 0))
    u += np.float32(CENTRE[0]) - np.float32(yaw) * depth
    v += np.float32(CENTRE[1]) - np.float32(pitch) * depth
    # Blur by what the scale takes away, so that thin lines do not flicker.
    soft = cv2.GaussianBlur(head, (0, 0), 0.45 / scale)
    warped = cv2.remap(soft, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.remap(alpha, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    out = scene.copy()
    region = out[top:bottom, left:right]
    share = cover[..., None].astype(np.uint16)
    region[:] = ((region * (255 - share) + warped * share) // 255).astype(np.uint8)
    return out


def _room(look: Look, rng: np.random.Generator) -> Image:
    """The wall behind the speaker with a few things on it: the same for all of a speaker's clips."""
    width, height = STAGE
    wall = np.empty((height, width, 3), np.float32)
    wall[:] = look.wall
    wall *= np.linspace(1.06, 0.88, height, dtype=np.float32)[:, None, None]
    room = wall.astype(np.uint8)
    for _ in range(rng.integers(1, 4)):
        x, y = int(rng.choice([rng.uniform(-20, 60), rng.uniform(230, 310)])), int(rng.uniform(0, 150))
        colour = tuple(
            int(c) for c in np.clip(np.array(look.wall) * rng.uniform(0.5, 1.15) + rng.uniform(-25, 25, 3), 0, 255)
        )
        cv2.rectangle(room, (x, y), (x + int(rng.uniform(25, 70)), y + int(rng.uniform(30, 90))), colour, -1)
    return cv2.GaussianBlur(room, (0, 0), 2.2).astype(np.uint8)


def _shoulders(room: Image, look: Look, clip: Clip) -> Image:
    scene = room.copy()
    cx, scale = STAGE[0] // 2, _HEAD_SCALE * clip.face_scale
    neck = tuple(int(0.66 * part) for part in look.skin)
    top = int(STAGE[1] * _HEAD_Y + 104 * scale)
    cv2.ellipse(
        scene,
        (cx, top + int(140 * scale)),
        (int(180 * scale), int(106 * scale)),
        0,
        0,
        360,
        look.shirt,
        -1,
        cv2.LINE_AA,
    )
    half = int(36 * scale)
    cv2.rectangle(scene, (cx - half, top - int(50 * scale)), (cx + half, top + int(38 * scale)), neck, -1)
    cv2.ellipse(scene, (cx, top + int(38 * scale)), (half, int(18 * scale)), 0, 0, 360, neck, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(scene, (0, 0), 0.8).astype(np.uint8)


def _empty_chair(room: Image) -> Image:
    scene = room.copy()
    cx, height = STAGE[0] // 2, STAGE[1]
    cv2.rectangle(scene, (cx - 62, 120), (cx + 62, height), (72, 60, 54), -1, cv2.LINE_AA)
    cv2.rectangle(scene, (cx - 54, 128), (cx + 54, height), (92, 78, 68), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(scene, (0, 0), 1.2).astype(np.uint8)


def _light(clip: Clip) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What a lit picture is: `image * gain + offset`, gain `[height, width, 3]`."""
    y, x = np.mgrid[0 : STAGE[1], 0 : STAGE[0]].astype(np.float32)
    across = np.cos(clip.light_angle) * (x / STAGE[0] - 0.5) + np.sin(clip.light_angle) * (y / STAGE[1] - 0.5)
    bright = 0.92 + 0.16 * clip.light + 0.35 * clip.light * across
    contrast = 1 + 0.15 * clip.contrast
    tint = np.array([1 + 0.06 * clip.warmth, 1, 1 - 0.08 * clip.warmth], np.float32)
    gain = (contrast * bright)[..., None].astype(np.float32) * tint
    return gain, np.float32(118 * (1 - contrast)) * np.ones(3, np.float32)


def _occlude(image: Image, look: Look, clip: Clip, at: tuple[float, float], moment: float) -> Image:
    """A microphone, a cup or a hand before the lower or one side of the face, in the middle of the clip."""
    near = float(np.clip(1.3 - abs(moment - 0.5) / 0.28, 0, 1))
    if near <= 0:
        return image
    out = image.copy()
    scale = clip.face_scale
    away = (1 - near) * 90
    cx, mouth_y = at[0], at[1] + 42 * scale
    if clip.occluder == 0:
        x, y = int(cx - 6), int(mouth_y + 26 + away)
        cv2.rectangle(out, (x - 6, y), (x + 6, y + 130), (48, 48, 52), -1, cv2.LINE_AA)
        cv2.circle(out, (x, y), int(15 * scale), (66, 66, 72), -1, cv2.LINE_AA)
    elif clip.occluder == 1:
        x, y = int(cx + 8), int(mouth_y + 22 + away)
        half = int(21 * scale)
        cv2.ellipse(out, (x + half, y + 14), (12, 14), 0, 0, 360, (186, 182, 176), 5, cv2.LINE_AA)
        cv2.rectangle(out, (x - half, y - 14), (x + half, y + 36), (206, 202, 196), -1, cv2.LINE_AA)
        cv2.ellipse(out, (x, y - 14), (half, 4), 0, 0, 360, (160, 156, 150), -1, cv2.LINE_AA)
    else:
        side, level = cx + 44 * scale + 0.6 * away, mouth_y - 2 + 0.6 * away
        skin = tuple(int(0.84 * part) for part in look.skin)
        edge = tuple(int(0.60 * part) for part in look.skin)
        for finger in range(4):
            tip = (int(side - 12 + 9 * finger), int(level - 22 + 5 * abs(finger - 1)))
            foot = (int(side + 2 + 7 * finger), int(level + 34))
            cv2.line(out, tip, foot, edge, 13, cv2.LINE_AA)
            cv2.line(out, tip, foot, skin, 11, cv2.LINE_AA)
        cv2.line(out, (int(side + 12), int(level + 34)), (int(side + 40), int(level + 130)), skin, 30, cv2.LINE_AA)
    return out


def clips_of(plan: pd.DataFrame, folder: Path) -> list[Clip]:
    """The clips of a plan, with the files they go to."""
    names = [name for name in Clip.__dataclass_fields__ if name not in ("number", "path")]
    return [
        Clip(number=number, path=folder / f"{clip_id(number)}.mp4", **dict(zip(names, row, strict=True)))
        for number, row in enumerate(plan[names].itertuples(index=False, name=None))
    ]
