"""The tiny avatar at one moment, to be exported."""

from pathlib import Path

import pytest

from avatar.gaussians import Gaussians
from avatar.io.avatar import StoredAvatar, load_avatar
from avatar.motion import Motion
from avatar.render.export import posed, single_moment


@pytest.fixture(scope="session")
def stored(tiny_avatar: Path) -> StoredAvatar:
    return load_avatar(tiny_avatar)


@pytest.fixture(scope="session")
def moment(tiny_motion: Motion) -> Motion:
    """A turned head that speaks, half-way between two frames."""
    return single_moment(tiny_motion, float(tiny_motion.time[8:10].mean()))


@pytest.fixture(scope="session")
def shown(stored: StoredAvatar, moment: Motion) -> Gaussians:
    return posed(stored, moment)
