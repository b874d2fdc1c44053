"""A motion for one head model on another: the face does the same, where it was."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.assets import asset
from avatar.errors import InputError
from avatar.heads import Head
from avatar.heads.layout import read_head
from avatar.heads.library import keep_head
from avatar.heads.retarget import motion_on, retarget
from avatar.motion import Motion


@pytest.fixture
def larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Head:
    """The open head a tenth larger and under another name, as one that a user has imported."""
    monkeypatch.setenv("HEADSPLAT_HEADS", str(tmp_path / "heads"))
    layout = read_head(asset("open_head.npz"))
    grown = {name: 1.1 * getattr(layout, name) for name in ("v_template", "shapedirs", "exprdirs", "eyelids")}
    # Regressed joints grow with the vertices.
    return Head(read_head(keep_head(replace(layout, id="larger", **grown))))


def eyes(head: Head, motion: Motion, betas: torch.Tensor) -> np.ndarray:
    kept = {"expression": motion.expression, "pose": motion.pose, "transl": motion.transl, "eyelids": motion.eyelids}
    vertices = head(betas=betas[None], **{name: torch.as_tensor(v, dtype=torch.float32) for name, v in kept.items()})
    balls = np.concatenate([np.arange(*head.parts[name]) for name in ("eye_l", "eye_r")])
    return vertices[:, balls].mean(1).numpy()


def test_the_face_does_the_same_at_the_same_place(open_head: Head, larger: Head, tiny_motion: Motion) -> None:
    few = tiny_motion[::6]
    still = replace(few, neck_pose=np.zeros_like(few.neck_pose))
    betas = torch.as_tensor(tiny_motion.betas)
    moved = retarget(still, open_head, larger, betas=betas)
    assert (moved.head_id, moved.head_hash) == ("larger", larger.hash)
    assert np.allclose(moved.jaw_pose[:, 0], still.jaw_pose[:, 0], atol=2e-3)
    assert np.allclose(moved.eyelids, still.eyelids.clip(0, 1), atol=1e-6)
    assert np.abs(moved.expression - still.expression).max() < 0.05
    assert np.abs(eyes(larger, moved, betas) - eyes(open_head, still, betas)).max() < 1e-3


def test_a_motion_is_converted_with_a_note_or_refused(open_head: Head, larger: Head, tiny_motion: Motion) -> None:
    betas = torch.as_tensor(tiny_motion.betas)
    same, note = motion_on(tiny_motion, open_head, betas=betas)
    assert same is tiny_motion and note is None
    few = tiny_motion[:2]
    moved, note = motion_on(few, larger, betas=betas)
    assert moved.head_hash == larger.hash
    assert note == "The motion was made for open-1; it was converted to larger through ARKit's coefficients."
    for other in (replace(few, head_id="nobody", head_hash="ab" * 32), replace(few, head_hash="ab" * 32)):
        with pytest.raises(InputError, match="belongs to another head model"):
            motion_on(other, open_head, betas=betas)
    silent = larger._copy()
    silent.arkit_names = ()
    with pytest.raises(InputError, match="two head models with ARKit actions"):
        retarget(few, open_head, silent, betas=betas)
