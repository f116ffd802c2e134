"""A long recording needs hardly more memory than a short one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from subtext.corpora.studio.write import write_mp4

READ = """
import sys
from pathlib import Path
from subtext.media.audio import read_segments
from subtext.media.crops import face_crops
from subtext.media.face_detectors import HaarDetector
from subtext.media.prosody_frames import prosody_frames
from subtext.media.segment import Segment
path, minutes = Path(sys.argv[1]), int(sys.argv[2])
segments = [Segment(begin, begin + 6) for begin in range(0, 60 * minutes, 6)]
pictures = sum(crops.n_frames for _, crops in face_crops(path, segments, detector=HaarDetector(side=80), rate=5))
sounds = sum(len(prosody_frames(sound.samples, hop=0.02)) for _, sound in read_segments(path, segments))
whole = dict(face_crops(path, [Segment()], detector=HaarDetector(side=80)))[0]
# Not ru_maxrss, which a process inherits from the one that started it.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(pictures, sounds, whole.n_frames, int(peak) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_seven_minutes_peak_little_above_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (16, 96, 128, 3), dtype=np.uint8)
    peaks = {}
    for minutes in (1, 7):
        path = tmp_path / f"{minutes}.mp4"
        pictures = (noise[number % 16] for number in range(minutes * 60 * 5))
        sound = rng.normal(0, 0.1, minutes * 60 * 16_000).astype(np.float32)
        write_mp4(path, pictures, 5, sound, preset="ultrafast", crf=40)
        done = subprocess.run(
            [sys.executable, "-c", READ, str(path), str(minutes)], capture_output=True, text=True, check=True
        )
        pictures_read, sounds_read, whole, peaks[minutes] = map(int, done.stdout.split())
        assert pictures_read == minutes * 300
        assert sounds_read == pytest.approx(minutes * 3000, rel=0.01)
        assert whole == 300
    # 200 MB are allowed between 1 and 60 minutes, so a tenth of that between 1 and 7.
    assert peaks[7] - peaks[1] < 20
