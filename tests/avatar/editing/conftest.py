"""A talking motion on the open head, and on a head whose expression basis is mixed and larger than ARKit's actions."""

from dataclasses import replace

import numpy as np
import pytest

from avatar.assets import asset
from avatar.editing import FaceMap
from avatar.heads import Head
from avatar.heads.layout import read_head
from avatar.motion import Motion
from avatar.synthetic.clip import ClipSettings, synthetic_motion

MORE = 9


@pytest.fixture(scope="session")
def mixed_head() -> Head:
    """The open head with more expressions than actions, all of them mixed."""
    layout = read_head(asset("open_head.npz"))
    rng = np.random.default_rng(3)
    count = layout.exprdirs.shape[-1]
    more = rng.normal(size=(*layout.exprdirs.shape[:2], MORE)).astype(np.float32) * 1e-3
    mixing = np.linalg.qr(rng.normal(size=(count + MORE, count + MORE)))[0]
    basis = np.concatenate([layout.exprdirs, more], axis=-1) @ mixing.T
    actions = mixing @ np.concatenate([layout.arkit_to_psi, np.zeros((MORE, layout.arkit_to_psi.shape[1]))])
    return Head(replace(layout, id="mixed", exprdirs=basis.astype(np.float32), arkit_to_psi=actions.astype(np.float32)))


@pytest.fixture(scope="session")
def talk(open_head: Head) -> Motion:
    """Four seconds at 25 moments a second of a person who talks, blinks, looks and turns the head."""
    return synthetic_motion(open_head, seconds=4, settings=ClipSettings(size=80, fps=25, movement=1.5, seed=5))


@pytest.fixture(scope="session", params=["open", "mixed"])
def subject(request: pytest.FixtureRequest, open_head: Head, mixed_head: Head, talk: Motion) -> tuple[Motion, FaceMap]:
    """A motion and the map of its face, on either head; on the mixed one with what no action says."""
    if request.param == "open":
        return talk, FaceMap(open_head, talk.betas)
    face = FaceMap(mixed_head, talk.betas)
    own = talk.expression @ FaceMap(open_head, talk.betas).to_actions.T @ face.to_expression.T
    rng = np.random.default_rng(0)
    away = rng.normal(size=own.shape) * 0.05
    unsaid = away - away @ face.to_actions.T @ face.to_expression.T
    expression = (own + unsaid).astype(np.float32)
    return replace(talk, expression=expression, head_id=mixed_head.id, head_hash=mixed_head.hash), face
