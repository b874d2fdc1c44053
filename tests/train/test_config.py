"""Presets and changed settings."""

import pytest

from avatar.errors import InputError
from avatar.train.config import PRESETS, train_config


def test_presets_differ_in_speed() -> None:
    assert PRESETS["fast"].steps < PRESETS["standard"].steps
    assert PRESETS["fast"].gaussians < PRESETS["standard"].gaussians


def test_settings_change_beside_the_preset() -> None:
    changed = train_config("fast", ["steps=7", "mouth_density=4.5", "closed=false"])
    assert (changed.steps, changed.mouth_density, changed.closed) == (7, 4.5, False)
    assert changed.gaussians == PRESETS["fast"].gaussians
    assert train_config("quality") == PRESETS["quality"]


@pytest.mark.parametrize("change", ["steps", "steps=", "step=7", "steps=many", "steps=7.5", "closed=perhaps", "=7"])
def test_a_change_that_is_none_is_refused(change: str) -> None:
    with pytest.raises(InputError, match=change):
        train_config("standard", [change])
