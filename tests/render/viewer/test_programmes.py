"""What `avatar view` plays, by its options."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avatar.commands.view import chosen_programme
from avatar.errors import InputError
from avatar.io.audio import write_wav
from avatar.io.avatar import StoredAvatar, load_avatar
from avatar.io.take import Take
from avatar.options import View


@pytest.fixture
def stored(tiny_avatar: Path) -> StoredAvatar:
    return load_avatar(tiny_avatar)


def test_alone_the_person_looks_about(stored: StoredAvatar, tiny_avatar: Path) -> None:
    programme = chosen_programme(View(tiny_avatar), stored)
    assert programme.name == "Looking about" and programme.duration > 15 and programme.sound is None
    # It looks about and blinks.
    assert np.ptp(programme.motion.leye_pose, axis=0).max() > 0.02 and programme.motion.eyelids.max() > 0.5
    assert stored.gaussians.poses(programme.motion[:2])


def test_a_take_is_played_with_its_sound_and_pictures(stored: StoredAvatar, tiny_avatar: Path, take_copy: Take) -> None:
    silent = chosen_programme(View(tiny_avatar, take_copy.path), stored)
    assert silent.sound is None and silent.take is not None and silent.name == "tiny.mp4"
    take_copy.write_speech(np.linspace(-0.5, 0.5, 16000 * 8).astype(np.float32))
    spoken = chosen_programme(View(tiny_avatar, take_copy.path), stored)
    assert spoken.sound is not None and spoken.sound[1] == 16000
    assert len(spoken.sound[0]) == pytest.approx(16000 * 8, abs=2)


def test_a_motion_file_is_played(stored: StoredAvatar, tiny_avatar: Path, tiny_take: Take) -> None:
    programme = chosen_programme(View(tiny_avatar, motion=tiny_take.path / "motion.npz"), stored)
    assert programme.name == "motion.npz" and programme.take is None
    assert 1 / np.diff(programme.motion.time).mean() == pytest.approx(float(Fraction(*stored.info.fps)))


def test_what_cannot_be_played(stored: StoredAvatar, tiny_avatar: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no motion file"):
        chosen_programme(View(tiny_avatar, motion=tmp_path / "none.npz"), stored)


@pytest.mark.usefixtures("speech_part")
def test_an_avatar_of_a_silent_clip_says_a_sound(stored: StoredAvatar, tiny_avatar: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(16000, np.float32))
    programme = chosen_programme(View(tiny_avatar, audio=tmp_path / "a.wav"), stored)
    assert programme.sound is not None and programme.duration == pytest.approx(1, abs=0.3)
