"""Clips of a synthetic person with exact ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.cameras import Camera
from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.motion import Motion
from avatar.synthetic.looks import LOOKS, Look
from avatar.synthetic.raycast import STUDIO, Lighting, render
from avatar.synthetic.room import room
from avatar.synthetic.speech import Phone, babble, mouth_weights
from avatar.synthetic.subject import Subject

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from avatar.heads import Head


_SPAN = 16  # frames a worker takes at a time


@dataclass(frozen=True)
class ClipSettings:
    """What a clip looks like.

    Attributes:
        look: The person's colours.
        seed: Seed of identity, movement, hair, room and camera noise.
        identity: Spread of the identity in standard deviations; 0 is the mean head.
        fps: Frames a second.
        size: Width and height in pixels.
        focal_factor: Focal length over the width.
        distance: Metres from the camera to the head's origin.
        movement: Scale of head movement; 1 turns to about 15 degrees.
        supersample: Samples along each side of a pixel.
        grain: Camera noise, standard deviation in units of full scale.
        lighting: The lights.
    """

    look: Look = LOOKS["light"]
    seed: int = 0
    identity: float = 0.55
    fps: float = 25.0
    size: int = 400
    focal_factor: float = 2.3
    distance: float = 0.80
    movement: float = 1.0
    supersample: int = 2
    grain: float = 0.005
    lighting: Lighting = STUDIO


@dataclass(frozen=True)
class SyntheticClip:
    """Pictures and what made them.

    Attributes:
        images: (T, H, W, 3) sRGB.
        motion: The exact motion, one row a picture.
        camera: The exact camera.
    """

    images: UInt8[np.ndarray, "T H W 3"]
    motion: Motion
    camera: Camera


def synthetic_clip(
    head: Head, *, seconds: float = 1.0, settings: ClipSettings | None = None, phones: tuple[Phone, ...] | None = None
) -> SyntheticClip:
    """A clip of a talking synthetic person, without sound.

    Args:
        head: The head model; it needs the parts and joints of the open head.
        seconds: Length.
        settings: What it looks like; small and fast settings suit tests.
        phones: What is said; babble when None.
    """
    settings = settings or ClipSettings()
    motion = synthetic_motion(head, seconds=seconds, settings=settings, phones=phones)
    images = np.stack(list(render_motion(head, motion, settings=settings)))
    return SyntheticClip(images, motion, clip_camera(settings))


def clip_camera(settings: ClipSettings) -> Camera:
    """The camera of a clip with these settings."""
    return Camera.front(settings.focal_factor * settings.size, settings.size, settings.size)


def synthetic_motion(
    head: Head, *, seconds: float, settings: ClipSettings, phones: tuple[Phone, ...] | None = None
) -> Motion:
    """Talking, looking about, blinking: the motion of a clip; times are those of the pictures, from 0."""
    rng = np.random.default_rng(settings.seed)
    count = max(1, round(seconds * settings.fps))
    time = np.arange(count) / settings.fps
    components = min(40, head.shapedirs.shape[-1])
    betas = np.clip(settings.identity * rng.standard_normal(components), -1.5, 1.5).astype(np.float32)
    phones = babble(seconds, seed=settings.seed) if phones is None else phones
    weights = mouth_weights(phones, time).astype(np.float64)
    effort = _emphasis(phones, time)

    neck, root = (settings.movement * part for part in _head_movement(time, effort, rng))
    gaze = _gaze(time, neck + root, rng)
    _put(weights, "eyeLookUp", np.clip(-gaze[:, 0], 0, None))
    _put(weights, "eyeLookDown", np.clip(gaze[:, 0], 0, None))
    # A turn to the subject's left moves the left eye outwards and the right eye inwards.
    left, right = np.clip(gaze[:, 1], 0, None), np.clip(-gaze[:, 1], 0, None)
    for name, value in (("OutLeft", left), ("InRight", left), ("InLeft", right), ("OutRight", right)):
        _put(weights, f"eyeLook{name}", value)
    _put(weights, "eyeBlink", _blinks(time, rng))
    mood = 0.5 + 0.5 * _wander(time, 0.12, rng)
    _put(weights, "browInnerUp", 0.45 * effort * mood)
    _put(weights, "browOuterUp", 0.30 * effort)
    _put(weights, "mouthSmile", 0.10 + 0.16 * mood, add=True)
    _put(weights, "cheekSquint", 0.12 * mood)
    _put(weights, "eyeWide", 0.12 - 0.08 * mood + 0.15 * effort)
    parts = arkit_to_motion_parts(weights.clip(0, 1).astype(np.float32), head)

    drift = np.stack([_wander(time, rate, rng) for rate in (0.11, 0.17, 0.09)], axis=1)
    place = settings.movement * drift * [0.010, 0.004, 0.012] + [0.0, -0.010, -settings.distance]
    return Motion(
        time=time,
        betas=betas,
        expression=parts.expression,
        global_orient=root.astype(np.float32),
        neck_pose=neck.astype(np.float32),
        jaw_pose=parts.jaw_pose,
        leye_pose=parts.leye_pose,
        reye_pose=parts.reye_pose,
        eyelids=parts.eyelids,
        transl=place.astype(np.float32),
        head_id=head.id,
        head_hash=head.hash,
    )


def render_motion(
    head: Head, motion: Motion, *, settings: ClipSettings, workers: int = 1
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The pictures of a motion in order; `workers` processes share the work and do not change the result."""
    if workers == 1:
        painter = _Painter(head, motion, settings)
        for index in range(len(motion)):
            yield painter(index)
        return
    spans = np.array_split(np.arange(len(motion)), -(-len(motion) // _SPAN))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for images in pool.map(partial(_paint, head, motion, settings), spans):
            yield from images


def posed_vertices(head: Head, motion: Motion) -> Float[np.ndarray, "T V 3"]:
    """The head's vertices (T, V, 3) in every moment of a motion."""
    with torch.no_grad():
        vertices = head(
            betas=torch.tensor(motion.betas)[None],
            expression=torch.tensor(motion.expression),
            pose=torch.tensor(motion.pose),
            eyelids=torch.tensor(motion.eyelids),
            transl=torch.tensor(motion.transl),
        )
    return vertices.numpy()


class _Painter:
    """Draws single pictures of a motion."""

    def __init__(self, head: Head, motion: Motion, settings: ClipSettings) -> None:
        torch.set_num_threads(1)
        self.head, self.motion, self.settings = head, motion, settings
        self.subject = Subject(head, settings.look, betas=motion.betas, seed=settings.seed)
        self.background = room(settings.size, settings.size, seed=settings.seed)
        self.camera = clip_camera(settings)

    def __call__(self, index: int) -> np.ndarray:
        settings = self.settings
        posed = posed_vertices(self.head, self.motion[index : index + 1])[0].astype(np.float64)
        image, _ = render(
            self.subject.vertices(posed),
            self.subject.faces,
            appearance=self.subject.appearance,
            camera=self.camera,
            lighting=settings.lighting,
            supersample=settings.supersample,
            background=self.background,
        )
        noise = np.random.default_rng((settings.seed, index)).standard_normal(image.shape)
        return np.clip((image + settings.grain * noise) * 255 + 0.5, 0, 255).astype(np.uint8)


def _paint(head: Head, motion: Motion, settings: ClipSettings, indices: np.ndarray) -> list[np.ndarray]:
    painter = _Painter(head, motion, settings)
    return [painter(int(index)) for index in indices]


def _head_movement(time: np.ndarray, effort: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Axis-angle (T, 3) of the neck and of the body: slow turns, with nods where the voice presses."""
    degrees = np.pi / 180
    yaw = 13 * _wander(time, 0.16, rng) + 2.5 * _wander(time, 0.6, rng)
    pitch = 4.5 * _wander(time, 0.19, rng) + 1.0 * _wander(time, 0.8, rng) + 3.0 * (effort - effort.mean())
    roll = 4.0 * _wander(time, 0.14, rng) + 0.12 * yaw
    body = np.stack([1.2 * _wander(time, 0.10, rng), 3.0 * _wander(time, 0.09, rng), _wander(time, 0.12, rng)], axis=1)
    return np.stack([pitch, yaw, roll], axis=1) * degrees, body * degrees


def _gaze(time: np.ndarray, turn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaze (T, 2) down and to the left in ARKit's units: mostly at the camera whatever the head does."""
    target = np.zeros((len(time), 2))
    moment = 0.8
    while moment < time[-1]:
        away = rng.normal(0, [0.22, 0.42]) if rng.random() < 0.55 else rng.normal(0, 0.05, 2)
        stay = rng.uniform(0.4, 1.1)
        target[(time >= moment) & (time < moment + stay)] = away
        moment += stay + rng.uniform(0.4, 1.4)
    held = -0.75 * turn[:, :2] / np.array([0.18, 0.25])
    smoothed = np.stack([np.convolve(np.pad(axis, 1, mode="edge"), [0.2, 0.6, 0.2], "valid") for axis in target.T], 1)
    return np.clip(held + smoothed, -0.9, 0.9)


def _blinks(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Closure (T,) of the lids: shut within 80 ms, open again after 160."""
    closed, moment = np.zeros(len(time)), 0.9
    while moment < time[-1]:
        since = time - moment
        closed = np.maximum(closed, np.clip(np.minimum((since + 0.09) / 0.07, (0.19 - since) / 0.15), 0, 1))
        moment += rng.uniform(1.4, 3.6)
    return closed


def _emphasis(phones: tuple[Phone, ...], time: np.ndarray) -> np.ndarray:
    """How much the voice presses (T,), 0 to 1."""
    effort = np.zeros(len(time))
    for phone in phones:
        if phone.stress > 1.1 and phone.symbol:
            effort = np.maximum(effort, np.exp(-(((time - phone.start) / 0.14) ** 2)))
    return effort


def _wander(time: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth, irregular curve (T,) within -1 to 1 that turns about `rate` times a second."""
    total = np.zeros(len(time))
    for factor, strength in ((1.0, 0.62), (1.93, 0.26), (3.1, 0.12)):
        total += strength * np.sin(2 * np.pi * (rate * factor * time + rng.random()))
    return total


def _put(weights: np.ndarray, name: str, value: np.ndarray, *, add: bool = False) -> None:
    """Writes one action, both sides of it when `name` has none."""
    for full in (name, f"{name}Left", f"{name}Right"):
        if full in ARKIT_NAMES:
            column = ARKIT_NAMES.index(full)
            weights[:, column] = value + (weights[:, column] if add else 0)
