"""Photometric refinement on a take whose motion is known."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from mistracking import LIES, mistracked, turn_error

from avatar.errors import InputError
from avatar.fields.sampling import Sampling
from avatar.heads import Head
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.preprocess._frame_state import pack, unpack
from avatar.preprocess._observations import Observations
from avatar.preprocess._small_frames import SmallFrames
from avatar.preprocess._solve import Photometric
from avatar.preprocess._unknowns import Shared, frames_of, to_motion
from avatar.preprocess.photometric import refine_take
from avatar.preprocess.refinement_config import RefinementConfig, RefinementLevel
from avatar.preprocess.tracking import tracking_problem
from avatar.preprocess.tracking_config import TrackingConfig

SMALL = RefinementConfig(
    levels=(
        RefinementLevel(
            side=96,
            sampling=Sampling(gaussians=2500, torso_gaussians=300, components=4, closed=False),
            first_steps=250,
            later_steps=80,
            rounds=2,
            # Of so few frames residuals would learn what is wrong with each.
            residual_start=1000,
            landmarks=0.01,
        ),
    ),
    key_frames=3,
    photometric=2e4,
    threads=1,
)


@pytest.fixture(scope="module")
def refined(tiny_take: Take, open_head: Head, tiny_motion: Motion, tmp_path_factory) -> tuple[Motion, Take]:
    """The mistracked motion, and the take after refinement."""
    take = Take.open(shutil.copytree(tiny_take.path, tmp_path_factory.mktemp("refined") / "take"))
    before = mistracked(take, open_head, tiny_motion)
    before = replace(before, vertex_offsets=np.zeros(open_head.v_template.shape, np.float32))
    take.write_motion(before, focal=take.info.focal)
    refine_take(take, open_head, config=SMALL)
    return before, take


@pytest.mark.parametrize("held_out", [False, True])
def test_the_pictures_overrule_wrong_landmarks(refined, tiny_motion: Motion, held_out: bool):
    before, take = refined
    rows = np.array([index for index in LIES if (index in take.split()["test"]) == held_out])
    after = take.motion()
    assert len(rows)
    assert turn_error(after, tiny_motion, rows) < 0.8 * turn_error(before, tiny_motion, rows)
    jaws = [np.abs(m.jaw_pose[rows, 0] - tiny_motion.jaw_pose[rows, 0]).mean() for m in (after, before)]
    assert jaws[0] < 0.8 * jaws[1]


def test_a_level_can_correct_the_head_alone(refined, open_head: Head, tiny_motion: Motion, tmp_path):
    before, take = refined[0], Take.open(shutil.copytree(refined[1].path, tmp_path / "take"))
    take.write_motion(before, focal=take.info.focal)
    level = replace(SMALL.levels[0], side=64, rounds=1, head_only=True)
    refine_take(take, open_head, config=replace(SMALL, levels=(level,)))
    after, rows = take.motion(), np.array(LIES)
    assert turn_error(after, tiny_motion, rows) < 0.8 * turn_error(before, tiny_motion, rows)
    for name in ("jaw_pose", "leye_pose", "expression"):
        assert np.allclose(getattr(after, name), getattr(before, name), atol=2e-3), name


def test_smaller_frames_show_the_same(tiny_take: Take, tmp_path):
    whole = SmallFrames.of_take(tiny_take, 64, tmp_path / "whole")
    small = whole.smaller(32, tmp_path / "small")
    index = int(whole.used[-1])
    assert (small.width, small.height) == (32, 32)
    assert whole.smaller(64, tmp_path / "none") is whole
    for name in ("image", "mask", "region"):
        blocks = getattr(whole, name)(index).reshape(32, 2, 32, 2, -1).mean((1, 3))
        assert np.allclose(getattr(small, name)(index).reshape(32, 32, -1), blocks, atol=0.003), name
    assert np.allclose(small.plate, whole.plate.reshape(32, 2, 32, 2, 3).mean((1, 3)), atol=1e-6)


def test_what_is_recorded(refined):
    _, take = refined
    detail = take.info.stages["refinement"].detail
    assert detail["reprojection_iod_median"] > 0
    assert detail["used_frames"] == take.used.sum()
    assert np.array_equal(take.motion().torso + take.motion().transl, refined[0].torso + refined[0].transl)
    assert np.array_equal(take.motion().vertex_offsets, refined[0].vertex_offsets)


def test_an_untracked_take_is_refused(take_copy: Take, open_head: Head):
    with pytest.raises(InputError, match=r"tracking\.npz"):
        refine_take(take_copy, open_head, config=SMALL)


def test_unknowns_survive_the_way_to_a_motion_and_back(tiny_take: Take, open_head: Head, tiny_motion: Motion):
    # The tracker knows one root for all moments.
    tiny_motion = replace(tiny_motion, global_orient=tiny_motion.global_orient[:1].repeat(len(tiny_motion), 0))
    problem = tracking_problem(Observations.of_take(tiny_take), open_head, config=TrackingConfig())
    shared = Shared(
        betas=torch.as_tensor(tiny_motion.betas),
        log_focal=torch.tensor(6.0),
        offsets=torch.zeros(3, 478),
        root=torch.as_tensor(tiny_motion.global_orient[0]),
        vergence=torch.tensor(0.02),
    )
    frames = frames_of(tiny_motion, shared, problem.camera, head=open_head)
    again = unpack(problem, shared, torch.from_numpy(pack(problem, shared, frames).astype(np.float32)))
    motion = to_motion(shared, again, problem.camera, head=open_head, time=tiny_motion.time)
    for name in ("neck_pose", "jaw_pose", "leye_pose", "transl", "expression"):
        assert np.allclose(getattr(motion, name), getattr(tiny_motion, name), atol=2e-4), name


def quadratic_term(generator: np.random.Generator, trust: list[float]) -> Photometric:
    """Some term of four unknowns, a frame for each factor on its Hessian."""
    root, count = generator.normal(size=(4, 4)), len(trust)
    state, gradient = generator.normal(size=(2, count, 4))
    return Photometric(state, gradient, root @ root.T, np.array(trust), generator.uniform(1, 2, count))


def test_the_term_is_its_own_taylor_series():
    generator = np.random.default_rng(0)
    term = quadratic_term(generator, [1.0, 0.0, 0.5])
    assert term.value(term.state) == 0
    at, step = generator.normal(size=(3, 4)), 1e-6 * generator.normal(size=(3, 4))
    assert term.value(at + step) - term.value(at - step) == pytest.approx(2 * (term.slope(at) * step).sum(), rel=1e-6)
    assert np.allclose(term.slope(at + step) - term.slope(at), (term.blocks @ step[..., None])[..., 0])
    assert np.array_equal(term[1:].blocks, term.blocks[1:])


def test_a_trial_step_tells_each_frame_s_own_curvature():
    generator = np.random.default_rng(1)
    believed = quadratic_term(generator, [1.0, 0.5, 1.0, 1.0, 0.0])
    true = replace(believed, trust=believed.trust * [3.5, 0.8, 100.0, -1.0, 1.0])
    at = believed.state + generator.normal(size=(5, 4))
    values = np.array([true[row : row + 1].value(at[row : row + 1]) for row in range(5)]) + believed.error
    found = believed.curved(at, values)
    assert np.allclose(found.trust, believed.trust * [3.5, 1.0, 10.0, 1.0, 1.0])
    assert np.isfinite(believed.curved(believed.state, believed.error).trust).all()
