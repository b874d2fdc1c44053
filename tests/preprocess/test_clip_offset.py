"""The offset of picture and sound measured on a clip whose sound was moved by known amounts."""

from pathlib import Path

import numpy as np
import pytest

from avatar.io.audio import read_audio
from avatar.io.video import read_frames
from avatar.preprocess.landmarks import FaceLandmarker
from avatar.speech.features import speech_features
from avatar.speech.mouth import landmark_opening
from avatar.speech.offset import MINIMUM_CONFIDENCE, estimate_offset

DEMO = Path(__file__).resolve().parents[2] / "assets" / "demo.mp4"
RATE = 16000


@pytest.fixture(scope="module")
def mouth(perception_parts) -> tuple[np.ndarray, np.ndarray]:
    """Times and openings of the mouth in the embedded clip, whose picture and sound belong together."""
    landmarker, times, landmarks = FaceLandmarker(), [], []
    for frame in read_frames(DEMO):
        seen = landmarker.track(frame.image)
        assert seen is not None
        times.append(frame.time)
        landmarks.append(seen.landmarks)
    return np.array(times), landmark_opening(np.array(landmarks))


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    samples = read_audio(DEMO)
    assert samples is not None
    return samples


@pytest.fixture(scope="module")
def unmoved(mouth, sound, speech_part) -> float:
    """What is measured of the clip as it is; a computed mouth need not be where a person's would be."""
    found = estimate_offset(speech_features(sound), mouth[0], opening=mouth[1])
    assert abs(found.seconds) < 0.06
    return found.seconds


@pytest.mark.parametrize("shift", [-0.3, -0.14, 0.1, 0.3])
def test_moved_sound_is_measured_within_a_frame(mouth, sound, unmoved, shift):
    late = round(shift * RATE)
    moved = np.concatenate([np.zeros(late, np.float32), sound]) if late >= 0 else sound[-late:]
    found = estimate_offset(speech_features(moved), mouth[0], opening=mouth[1])
    assert found.seconds - unmoved == pytest.approx(shift, abs=0.04)
    assert found.confidence > MINIMUM_CONFIDENCE and not found.note


@pytest.mark.usefixtures("speech_part")
def test_sound_of_something_else_gives_no_confidence(mouth, sound):
    found = estimate_offset(speech_features(sound[::-1].copy()), mouth[0], opening=mouth[1])
    assert found.confidence < MINIMUM_CONFIDENCE
    assert found.seconds == 0.0 and found.note
