"""Fixtures shared by all tests: the clips beside the checkout, and a tiny take whose truth is known."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from rebinding import bound_like

from avatar.cameras import Camera
from avatar.errors import PartError
from avatar.fields.condition import MotionCondition, motion_features
from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.heads import Head, load_head
from avatar.io.avatar import AvatarInfo, save_avatar
from avatar.io.take import Take, TakeInfo
from avatar.models import fetch
from avatar.motion import Motion
from avatar.render.compose import compose
from avatar.render.playback import render_pose
from avatar.speech.life_model import LifeModel
from avatar.synthetic.clip import ClipSettings, clip_camera, synthetic_motion

pytest_plugins = ("refusals", "strict_device")

SIDE, FRAMES, RATE, COLLAR = 80, 30, 4, -0.13
SETTINGS = ClipSettings(size=SIDE, fps=RATE, movement=1.5, seed=5)


def pytest_configure(config: pytest.Config) -> None:
    """Processes that run tests side by side share the cores."""
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // worker["workercount"]))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test clips and speech beside the checkout."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the test clips are kept outside the repository")
    return folder


def fetched(*names: str) -> list[Path]:
    """Pretrained parts from the cache, or fetched; skips with the reason where they cannot be had."""
    try:
        return [fetch(name) for name in names]
    except PartError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def perception_parts() -> list[Path]:
    """The face landmarker and the person mask's network."""
    return fetched("face_landmarker", "selfie_segmenter")


@pytest.fixture(scope="session")
def speech_part() -> list[Path]:
    """The speech encoder."""
    return fetched("whisper_tiny_en")


@pytest.fixture(scope="session")
def makehuman_part() -> Path:
    """The data that the open head is built from."""
    return fetched("makehuman")[0]


@pytest.fixture(scope="session")
def open_head() -> Head:
    return load_head()


@pytest.fixture(scope="session")
def tiny_motion(open_head: Head) -> Motion:
    """Seven seconds of a person who talks and turns the head a good deal."""
    return synthetic_motion(open_head, seconds=FRAMES / RATE, settings=SETTINGS)


@pytest.fixture(scope="session")
def tiny_gaussians(open_head: Head, tiny_motion: Motion) -> GaussianHead:
    """The truth behind the tiny take: Gaussians all over the head, hair above, a shirt below the collar."""
    generator = np.random.default_rng(0)
    rest = open_head(betas=torch.as_tensor(tiny_motion.betas)[None])[0]
    corners = rest[open_head.faces]
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1).numpy() / 2
    triangles = generator.choice(len(areas), 4000, p=areas / areas.sum())
    result = GaussianHead(
        open_head,
        torch.as_tensor(tiny_motion.betas),
        torch.zeros(0, 3),
        torch.zeros(0, 3, dtype=torch.int64),
        MotionCondition.fit(motion_features(tiny_motion, open_head), 4),
        triangles=torch.as_tensor(triangles),
        barycentric=torch.as_tensor(generator.dirichlet([1.5] * 3, len(triangles)), dtype=torch.float32),
        regions=torch.full((len(triangles),), REGIONS.index("skin")),
    )
    place = corners.mean(1).numpy()[triangles]
    with torch.no_grad():
        result.log_scales.fill_(float(np.log(0.8 * np.sqrt(areas.sum() / len(triangles)))))
        result.opacity_logits.fill_(3.0)
        result.color_logits.copy_(
            torch.logit(torch.as_tensor(_paint(open_head, place, triangles), dtype=torch.float32))
        )
    return result.requires_grad_(False)


def _paint(head: Head, place: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Colours with detail that moves with the head: freckled skin, dark hair and eyes, red lips, a striped shirt."""
    x, y, z = place.T
    wave = 0.5 + 0.5 * np.sin(260 * x) * np.sin(230 * y)
    color = np.array([0.85, 0.62, 0.5]) - 0.25 * wave[:, None]
    color[(y > 0.075) | (z < -0.03)] = (0.2, 0.12, 0.08)
    lips = head.landmark_positions(head()).numpy()[0, [61, 291, 0, 17]].mean(0)
    color[np.linalg.norm((place - lips) / [1.6, 1, 1], axis=1) < 0.014] = (0.75, 0.15, 0.2)
    first = head.faces.numpy()[triangles, 0]
    for name, (start, stop) in head.parts.items():
        if name != "skin":
            color[(first >= start) & (first < stop)] = (0.08, 0.1, 0.15) if name.startswith("eye") else (0.9, 0.85, 0.8)
    shirt = y < COLLAR
    color[shirt] = np.array([0.15, 0.25, 0.6]) + 0.3 * (np.sin(180 * y[shirt]) > 0)[:, None]
    return color.clip(0.03, 0.97)


@pytest.fixture(scope="session")
def tiny_take(
    tmp_path_factory: pytest.TempPathFactory, open_head: Head, tiny_motion: Motion, tiny_gaussians: GaussianHead
) -> Take:
    """A silent take of the tiny Gaussians with exact masks, parts, landmarks, camera and motion; not to be changed."""
    info = TakeInfo(SIDE, SIDE, (RATE, 1), "tiny.mp4", "ab" * 32, crop=(0, 0, SIDE))
    take = Take.create(tmp_path_factory.mktemp("tiny") / "take", info)
    camera = clip_camera(SETTINGS)
    across = np.linspace(0.3, 0.9, SIDE, dtype=np.float32)
    plate = np.stack([np.tile(across, (SIDE, 1)), np.tile(across[:, None], (1, SIDE)), np.full((SIDE, SIDE), 0.5)], -1)
    labelled = _labelled(tiny_gaussians)
    landmarks = []
    for index, pose in enumerate(tiny_gaussians.poses(tiny_motion)):
        image, alpha, *_ = render_pose(tiny_gaussians, pose, camera)
        labels = render_pose(labelled, pose, camera).image.numpy()
        mask = alpha[..., 0].numpy()
        take.write_image(index, compose(image, alpha, plate))
        take.write_mask(index, mask)
        take.write_parts(index, np.where(mask > 0.5, 1 + (labels[..., 1] > labels[..., 0]), 0).astype("u1"))
        vertices = tiny_gaussians.vertices(pose)[: len(open_head.v_template)]
        landmarks.append(_projected(open_head.landmark_positions(vertices[None])[0].numpy(), camera))
    take.write_background((plate * 255 + 0.5).astype(np.uint8))
    take.write_frames(tiny_motion.time, np.ones(FRAMES, bool))
    seen = {"landmarks": np.stack(landmarks), "blendshapes": np.zeros((FRAMES, 52)), "confidence": np.ones(FRAMES)}
    take.write_perception(seen)  # type: ignore[arg-type]
    take.write_motion(tiny_motion, focal=float(camera.K[0, 0]))
    return take


def _labelled(gaussians: GaussianHead) -> GaussianHead:
    """The same Gaussians, red where they are the head and green where they are the shirt."""
    rest = torch.cat([gaussians.head(betas=gaussians.betas[None])[0], gaussians.torso_vertices])
    shirt = rest[gaussians.head.faces[gaussians.triangles]].mean(1)[:, 1] < COLLAR
    result = bound_like(gaussians)
    result.load_state_dict(gaussians.state_dict())
    result.requires_grad_(False).color_logits.copy_(torch.stack([~shirt, shirt, shirt & ~shirt], 1) * 40.0 - 20)
    return result


def _projected(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels of world points, with their depth in pixels beside them."""
    seen = points @ camera.viewmat[:3, :3].T
    pixels = seen @ camera.K.T
    depth = (seen[:, 2:] - seen[:, 2].mean()) * camera.K[0, 0] / seen[:, 2].mean()
    return np.concatenate([pixels[:, :2] / pixels[:, 2:], depth], axis=1)


@pytest.fixture
def take_copy(tiny_take: Take, tmp_path: Path) -> Take:
    """A tiny take of the test's own, to write to and to damage."""
    return Take.open(shutil.copytree(tiny_take.path, tmp_path / "take"))


@pytest.fixture
def small_files() -> Callable[[int], AbstractContextManager[None]]:
    """For a while no file can become larger than so many bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture(scope="session")
def write_avatar(tiny_take: Take, tiny_motion: Motion, open_head: Head) -> Callable[[Path, GaussianHead], Path]:
    """Writes Gaussians as a silent avatar of the tiny take into a folder."""

    def write(folder: Path, gaussians: GaussianHead) -> Path:
        info = tiny_take.info
        plate = tiny_take.background()
        save_avatar(
            folder,
            AvatarInfo(open_head.id, open_head.hash, len(gaussians), info.width, info.height, info.focal, info.fps),
            gaussians,
            speech={},
            life=LifeModel.from_motion(tiny_motion, head=open_head).to_tensors(),
            plate=plate,
            preview=plate,
        )
        return folder

    return write


@pytest.fixture(scope="session")
def tiny_avatar(
    tmp_path_factory: pytest.TempPathFactory,
    write_avatar: Callable[[Path, GaussianHead], Path],
    tiny_gaussians: GaussianHead,
) -> Path:
    """The tiny Gaussians as an avatar folder without speech; not to be changed."""
    return write_avatar(tmp_path_factory.mktemp("tiny") / "avatar", tiny_gaussians)
