"""A synthetic subject: speech features made of a few slow signals, and a head that follows them."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from avatar.heads.head import Head, load_head
from avatar.motion import Motion
from avatar.speech.features import SpeechFeatures

RATE, SIGNALS = 50.0, 8


@dataclass(frozen=True)
class Subject:
    """The subject's recording: features, and the motion that belongs to them at a known shift."""

    features: SpeechFeatures
    motion: Motion
    signals: np.ndarray


def make_subject(head: Head, *, seconds: float = 16.0, fps: float = 25.0, shift: float = 0.0, seed: int = 0) -> Subject:
    """A take whose sound at ``t + shift`` belongs to the picture at ``t``; jaw and expression are linear in it."""
    rng = np.random.default_rng(seed)
    rows = int(seconds * RATE)
    signals = gaussian_filter1d(rng.standard_normal((rows, SIGNALS)), 2.5, axis=0)
    signals /= signals.std(axis=0)
    # The voice is the same for every seed: only what is said differs.
    voice = np.random.default_rng(99).standard_normal((SIGNALS, 384))
    values = (signals @ voice + 0.5 * rng.standard_normal((rows, 384))).astype(np.float32)

    time = np.arange(int(seconds * fps)) / fps
    sound = np.stack([np.interp(time + shift, np.arange(rows) / RATE, column) for column in signals.T], axis=1)
    count = len(time)
    weights = np.zeros((count, len(head.arkit_names)))
    names = list(head.arkit_names)
    weights[:, names.index("mouthFunnel")] = 0.3 + 0.15 * sound[:, 1]
    weights[:, names.index("mouthSmileLeft")] = 0.3 + 0.15 * sound[:, 2]
    weights[:, names.index("mouthSmileRight")] = 0.3 + 0.15 * sound[:, 2]
    weights[:, names.index("browInnerUp")] = 0.5 + 0.3 * np.sin(0.7 * time)
    slow = gaussian_filter1d(rng.standard_normal((count, 9)), 0.3 * fps, axis=0)
    slow /= slow.std(axis=0)
    jaw = np.zeros((count, 3))
    jaw[:, 0] = np.maximum(0.12 + 0.06 * sound[:, 0], 0)
    eyelids = np.full((count, 2), 0.05)
    for moment in np.arange(2.0, seconds - 1, 3.0):
        eyelids += 0.95 * np.exp(-0.5 * ((time - moment) / 0.06) ** 2)[:, None]
    motion = Motion(
        time=time,
        betas=np.zeros(10, np.float32),
        expression=(weights @ head.arkit_to_psi.numpy().T).astype(np.float32),
        global_orient=(0.05 * slow[:, :3]).astype(np.float32),
        neck_pose=(0.02 * slow[:, 3:6]).astype(np.float32),
        jaw_pose=jaw.astype(np.float32),
        leye_pose=(-0.05 * slow[:, :3]).astype(np.float32),
        reye_pose=(-0.05 * slow[:, :3]).astype(np.float32),
        eyelids=np.clip(eyelids, 0, 1).astype(np.float32),
        transl=(np.array([0, 0, -0.6]) + 0.005 * slow[:, 6:]).astype(np.float32),
        head_id=head.id,
        head_hash=head.hash,
    )
    return Subject(SpeechFeatures(values, RATE, "synthetic/1"), motion, signals)


@pytest.fixture(scope="session")
def head() -> Head:
    return load_head()


@pytest.fixture(scope="session")
def subject(head: Head) -> Subject:
    return make_subject(head, shift=0.2)
