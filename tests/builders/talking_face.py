"""A drawn person who talks: a small real recording with a face that detectors find and a voice."""

from pathlib import Path

from subtext.corpora.studio.render import Clip, PictureFormat, render_clip
from subtext.corpora.studio.write import write_mp4
from subtext.media.audio import read_segments
from subtext.media.segment import Segment

SAMPLE_RATE = 16_000


def write_talking_face(
    path: Path,
    seconds: float,
    *,
    width: int = 320,
    height: int = 240,
    fps: float = 12.5,
    picture: bool = True,
    sound: bool = True,
) -> Path:
    """Write an mp4 file of one speaker, with picture, sound or both."""
    clip = Clip(
        number=0,
        path=path if picture else path.with_name(f"{path.stem} with picture.mp4"),
        speaker_number=3,
        face=1,
        voice=-1,
        face_shown=True,
        sound_recorded=sound,
        occluded=False,
        face_intensity=1.0,
        voice_intensity=1.0,
        duration=seconds,
        face_scale=1.0,
        light=0.3,
        light_angle=0.5,
        contrast=1.0,
        warmth=0.0,
        picture_noise=2.0,
        sound_noise=0.02,
        gain_db=0.0,
        occluder=0,
    )
    made = render_clip(clip, 7, PictureFormat(width, height, fps))
    if not picture:
        ((_, sound),) = read_segments(made, [Segment()], SAMPLE_RATE)
        if isinstance(sound, Exception):
            raise sound
        write_mp4(path, None, waveform=sound.samples, sample_rate=SAMPLE_RATE)
    return path
