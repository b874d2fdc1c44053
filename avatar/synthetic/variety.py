"""Clips of many people, cameras and movements, each wholly from one seed, with their exact truth beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.config import read_json, write_json
from avatar.io.video import VideoWriter
from avatar.motion import Motion
from avatar.synthetic.clip import ClipSettings, clip_camera, render_motion, synthetic_motion
from avatar.synthetic.glasses import random_glasses
from avatar.synthetic.looks import LOOKS, Colour, Look
from avatar.synthetic.raycast import Light, Lighting
from avatar.synthetic.strands import Haircut

if TYPE_CHECKING:
    from avatar.heads import Head

CLIP, MOTION, CAMERA = "clip.mp4", "motion.npz", "camera.json"
# The fractional parts of multiples of these fill a cube evenly (Roberts, 2018: the R3 sequence of the root of
# x^4 = x + 1), so that few clips with neighbouring seeds already differ in what matters most.
_STEPS = (0.8191725134, 0.6710436067, 0.5497004779)
_FOCAL, _TURN = (0.8, 3.0), (10.0, 45.0)
# Share of the picture's height that a head of this height fills, through the widest and through the longest lens.
_FILL, _HEAD = (0.42, 0.60), 0.235
_TONES = ("fair", "light", "olive", "tan", "brown", "deep")
_HAIRS: tuple[Colour, ...] = ((0.05, 0.04, 0.035), (0.12, 0.08, 0.06), (0.30, 0.18, 0.10), (0.60, 0.45, 0.27))
_IRISES: tuple[Colour, ...] = ((0.13, 0.08, 0.05), (0.34, 0.23, 0.14), (0.30, 0.32, 0.18), (0.32, 0.43, 0.50))


@dataclass(frozen=True)
class ClipCamera:
    """The exact camera of a written clip, as `avatar.cameras.Camera.front` takes it.

    Attributes:
        focal: Focal length, pixels.
        width: Width in pixels.
        height: Height in pixels.
    """

    focal: float
    width: int
    height: int


@dataclass(frozen=True)
class WrittenClip:
    """A clip on disk and its truth.

    Attributes:
        video: The clip.
        motion: The exact motion, one row a picture.
        camera: The exact camera.
    """

    video: Path
    motion: Motion
    camera: ClipCamera


def random_settings(seed: int, *, head_pixels: int = 200, glasses: bool = False) -> ClipSettings:
    """What the clip of a seed looks like: any skin tone, hair, lens, light, movement and quality of recording.

    The focal length is 0.8 to 3 times the picture's width, log-uniform; the camera stands where the head fills two
    fifths (wide lens) to three fifths (long lens) of the picture. The largest turn is 10 to 45 degrees.

    Args:
        seed: Any whole number.
        head_pixels: Height of the head in the picture, which the picture's size follows.
        glasses: Whether the person wears glasses; everything else stays the same.
    """
    rng = np.random.default_rng((seed, 0x5EED))
    lens, turn, tone = ((0.5 + seed * step) % 1 for step in _STEPS)
    low, high = np.log(_FOCAL)
    factor = float(np.exp(low + lens * (high - low)))
    fill = (_FILL[0] + lens * (_FILL[1] - _FILL[0])) * rng.uniform(0.92, 1.08)
    return ClipSettings(
        look=random_look(tone, rng),
        seed=seed,
        identity=float(rng.uniform(0.6, 0.9)),
        fps=float(rng.choice([24.0, 25.0, 30.0])),
        size=2 * round(head_pixels / fill / 2),
        focal_factor=factor,
        distance=float(factor * _HEAD / fill),
        place=(float(rng.uniform(-0.02, 0.02)), float(rng.uniform(-0.025, 0.005))),
        movement=float(rng.uniform(0.6, 1.3)),
        turn=_TURN[0] + turn * (_TURN[1] - _TURN[0]),
        supersample=1,
        shutter=float(rng.uniform(0.25, 0.6)),
        exposures=3,
        grain=float(rng.uniform(0.003, 0.016)),
        lighting=random_lighting(rng),
        cut=random_cut(rng),
        crf=int(rng.integers(20, 31)),
        glasses=random_glasses(seed) if glasses else None,
    )


def random_look(tone: float, rng: np.random.Generator) -> Look:
    """A person whose skin lies between two of `LOOKS`.

    Args:
        tone: Skin tone, 0 for the fairest to 1 for the deepest.
        rng: Source of everything else.
    """
    place = tone * (len(_TONES) - 1)
    first = min(int(place), len(_TONES) - 2)
    near, far, share = LOOKS[_TONES[first]], LOOKS[_TONES[first + 1]], place - first
    # Fair hair and light eyes go with fair skin.
    shades = max(2, round(len(_HAIRS) * (1 - 0.6 * tone)))
    return Look(
        skin=_between(near.skin, far.skin, share),
        lips=_between(near.lips, far.lips, share),
        hair=_mixture(_HAIRS[:shades], rng),
        iris=_mixture(_IRISES[:shades], rng),
        shirt=_between((0.0, 0.0, 0.0), tuple(rng.uniform(0.25, 1.0, 3).tolist()), float(rng.uniform(0.4, 0.9))),
        redness=near.redness + share * (far.redness - near.redness),
        freckles=float(rng.uniform(0, 0.5) * (1 - tone)),
        stubble=float(max(0.0, rng.uniform(-0.6, 0.6))),
        bald=bool(rng.random() < 0.15),
        brow_weight=float(rng.uniform(0.7, 1.3)),
    )


def random_cut(rng: np.random.Generator) -> Haircut:
    """A short haircut, combed to any side."""
    top, angle = float(rng.uniform(0.012, 0.05)), float(rng.uniform(-np.pi, np.pi))
    return Haircut(
        count=9000,
        top=top,
        side=float(rng.uniform(0.3, 0.9) * min(top, 0.022)),
        lift=float(rng.uniform(0.15, 0.5)),
        sweep=(float(0.8 * np.sin(angle)), 0.0, float(0.5 * np.cos(angle))),
        width=0.0017,
    )


def random_lighting(rng: np.random.Generator) -> Lighting:
    """A key light from any side, a weaker one against it, one from behind at times, and the light of a room."""
    side, up = rng.uniform(-1.1, 1.1), rng.uniform(0.15, 0.9)
    # Between a lamp and daylight; the ambient light takes up what the key light leaves.
    warmth = float(rng.uniform(-1, 1))
    tint = np.array([1 + 0.12 * warmth, 1.0, 1 - 0.16 * warmth])
    key, exposure = rng.uniform(0.35, 0.9), rng.uniform(0.8, 1.1)
    direction = (float(np.sin(side) * np.cos(up)), float(np.sin(up)), float(np.cos(side) * np.cos(up)))
    lights = [Light(direction, _light(exposure * key * tint), float(rng.uniform(0.05, 0.3)))]
    lights.append(Light((-direction[0], 0.1, 0.6), _light(exposure * rng.uniform(0.0, 0.25) * (2 - tint))))
    if rng.random() < 0.5:
        lights.append(Light((-np.sign(side) * 0.5, 0.5, -0.9), _light(rng.uniform(0.1, 0.4) * tint), 0.1))
    ambient = exposure * (0.62 - 0.35 * key)
    return Lighting(tuple(lights), sky=_light(ambient * (2 - tint)), ground=_light(0.6 * ambient * tint))


def write_clip(
    head: Head,
    folder: Path,
    settings: ClipSettings,
    *,
    seconds: float = 6.0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenClip:
    """Renders a silent clip with its truth into a folder: clip.mp4, motion.npz and camera.json.

    Args:
        head: The head model; it needs the parts and joints of the open head.
        folder: Made when absent; it appears under its name once the clip is whole.
        settings: What the clip looks like.
        seconds: Length.
        workers: Processes, which do not change the result.
        progress: Called with (pictures done, all pictures).
    """
    partial = folder.with_name(f".{folder.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    fps = Fraction(settings.fps).limit_denominator(1001)
    motion = synthetic_motion(head, seconds=seconds, settings=replace(settings, fps=float(fps)))
    images = render_motion(head, motion, settings=settings, workers=workers)
    with VideoWriter(partial / CLIP, fps=fps, width=settings.size, height=settings.size, crf=settings.crf) as video:
        for index, image in enumerate(images):
            video.write(image)
            if progress is not None:
                progress(index + 1, len(motion))
    motion.save(partial / MOTION)
    camera = clip_camera(settings)
    write_json(partial / CAMERA, ClipCamera(float(camera.K[0, 0]), camera.width, camera.height))
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    return read_clip(folder)


def read_clip(folder: Path) -> WrittenClip:
    """A clip of `write_clip`; raises FormatError where its truth is damaged."""
    return WrittenClip(folder / CLIP, Motion.load(folder / MOTION), read_json(folder / CAMERA, ClipCamera))


def _light(colour: np.ndarray) -> Colour:
    red, green, blue = (float(value) for value in colour)
    return red, green, blue


def _between(first: Colour, second: Colour, share: float) -> Colour:
    return _light((1 - share) * np.array(first) + share * np.array(second))


def _mixture(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    """A colour between two neighbours."""
    place = rng.uniform(0, len(colours) - 1)
    first = min(int(place), len(colours) - 2)
    return _between(colours[first], colours[first + 1], place - first)
