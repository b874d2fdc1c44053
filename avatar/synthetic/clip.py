"""Clips of a synthetic person with exact ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.cameras import Camera
from avatar.heads.arkit import arkit_to_motion_parts
from avatar.motion import Motion
from avatar.synthetic.glasses import Glasses
from avatar.synthetic.looks import LOOKS, Look
from avatar.synthetic.movement import blinks, emphasis, eye_movement, head_movement, put_action, wander
from avatar.synthetic.raycast import STUDIO, Lighting, render, to_linear, to_srgb
from avatar.synthetic.room import room
from avatar.synthetic.speech import Phone, babble, mouth_weights
from avatar.synthetic.strands import Haircut
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
        place: Metres from the camera's axis to the head's origin, to the right and up.
        movement: Scale of head movement; 1 turns to about 15 degrees.
        turn: The clip's largest turn of the neck to a side, degrees; the movement's own when None.
        supersample: Samples along each side of a pixel.
        shutter: Exposure time over the frame interval; 0 freezes every movement.
        exposures: Most moments of an exposure that are rendered and averaged.
        grain: Camera noise, standard deviation in units of full scale.
        lighting: The lights.
        cut: The haircut, for a look that is not bald.
        crf: H.264 quality of the written clip; larger is smaller.
        glasses: The glasses, if the person wears any.
    """

    look: Look = LOOKS["light"]
    seed: int = 0
    identity: float = 0.55
    fps: float = 25.0
    size: int = 400
    focal_factor: float = 2.3
    distance: float = 0.80
    place: tuple[float, float] = (0.0, -0.010)
    movement: float = 1.0
    turn: float | None = None
    supersample: int = 2
    shutter: float = 0.0
    exposures: int = 4
    grain: float = 0.005
    lighting: Lighting = STUDIO
    cut: Haircut = field(default_factory=Haircut)
    crf: int = 20
    glasses: Glasses | None = None


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
    effort = emphasis(phones, time)

    neck, root = (settings.movement * part for part in head_movement(time, effort, rng))
    if settings.turn is not None:
        neck[:, 1] *= np.radians(settings.turn) / max(float(np.abs(neck[:, 1]).max()), 1e-6)
    gaze = eye_movement(time, neck + root, rng)
    put_action(weights, "eyeLookUp", np.clip(-gaze[:, 0], 0, None))
    put_action(weights, "eyeLookDown", np.clip(gaze[:, 0], 0, None))
    # A turn to the subject's left moves the left eye outwards and the right eye inwards.
    left, right = np.clip(gaze[:, 1], 0, None), np.clip(-gaze[:, 1], 0, None)
    for name, value in (("OutLeft", left), ("InRight", left), ("InLeft", right), ("OutRight", right)):
        put_action(weights, f"eyeLook{name}", value)
    put_action(weights, "eyeBlink", blinks(time, rng))
    mood = 0.5 + 0.5 * wander(time, 0.12, rng)
    put_action(weights, "browInnerUp", 0.45 * effort * mood)
    put_action(weights, "browOuterUp", 0.30 * effort)
    put_action(weights, "mouthSmile", 0.10 + 0.16 * mood, add=True)
    put_action(weights, "cheekSquint", 0.12 * mood)
    put_action(weights, "eyeWide", 0.12 - 0.08 * mood + 0.15 * effort)
    parts = arkit_to_motion_parts(weights.clip(0, 1).astype(np.float32), head)

    drift = np.stack([wander(time, rate, rng) for rate in (0.11, 0.17, 0.09)], axis=1)
    place = settings.movement * drift * [0.010, 0.004, 0.012] + [*settings.place, -settings.distance]
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
        self.subject = Subject(
            head,
            settings.look,
            betas=motion.betas,
            cut=settings.cut,
            seed=settings.seed,
            glasses=settings.glasses,
        )
        self.background = room(settings.size, settings.size, seed=settings.seed)
        self.camera = clip_camera(settings)

    def __call__(self, index: int) -> np.ndarray:
        settings = self.settings
        if settings.shutter > 0:
            image = self._exposed(float(self.motion.time[index]))
        else:
            image = self._frozen(posed_vertices(self.head, self.motion[index : index + 1])[0], self.camera)
        noise = np.random.default_rng((settings.seed, index)).standard_normal(image.shape)
        return np.clip((image + settings.grain * noise) * 255 + 0.5, 0, 255).astype(np.uint8)

    def _frozen(self, posed: np.ndarray, camera: Camera) -> np.ndarray:
        """The picture of one pose, sRGB in [0, 1]."""
        vertices = self.subject.vertices(posed.astype(np.float64))
        return render(
            vertices,
            self.subject.faces,
            appearance=self.subject.appearance,
            camera=camera,
            lighting=self.settings.lighting,
            supersample=self.settings.supersample,
            background=self.background,
            glazing=self.subject.glazing(vertices),
        )[0]

    def _exposed(self, moment: float) -> np.ndarray:
        """The mean light of an exposure around a moment in seconds, sRGB in [0, 1].

        The head moves at most about a pixel between two of the rendered moments, as far as `exposures` allows. Each
        looks through other places of the pixels, so that together they smooth edges as supersampling does.
        """
        length = self.settings.shutter / self.settings.fps
        ends = posed_vertices(self.head, self.motion.resample(np.array([moment - length / 2, moment + length / 2])))
        pixels = ends[..., :2] / ends[..., 2:] * self.camera.K[0, 0]
        reach = float(np.linalg.norm(pixels[1] - pixels[0], axis=1).max())
        count = int(np.clip(np.ceil(reach), 2, max(self.settings.exposures, 2)))
        parts = (np.arange(count) + 0.5) / count - 0.5
        light = np.zeros((self.camera.height, self.camera.width, 3))
        for index, posed in enumerate(posed_vertices(self.head, self.motion.resample(moment + parts * length))):
            K = self.camera.K.copy()
            jitter = parts[[index, (2 * index + 1) % (count + 1 - count % 2)]]
            K[:2, 2] += jitter / self.settings.supersample
            light += to_linear(self._frozen(posed, replace(self.camera, K=K)))
        return to_srgb(light / count)


def _paint(head: Head, motion: Motion, settings: ClipSettings, indices: np.ndarray) -> list[np.ndarray]:
    painter = _Painter(head, motion, settings)
    return [painter(int(index)) for index in indices]
