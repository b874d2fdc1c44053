"""Makes the demo clip: ``python -m avatar.synthetic OUT_DIR``."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro

from avatar.heads import load_head
from avatar.io.video import VideoWriter
from avatar.motion import Motion
from avatar.synthetic.clip import ClipSettings, clip_camera, render_motion, synthetic_motion
from avatar.synthetic.looks import LOOKS
from avatar.synthetic.speech import Utterance, speak

if TYPE_CHECKING:
    from jaxtyping import UInt8

logger = logging.getLogger(__name__)

TEXT = (
    "Hello! My name is Robin. I am not a real person, but maybe you believed it for a moment? "
    "Move your head, and blink. Now make one of your own."
)
LICENCE = """demo.mp4 and demo_truth.npz

A rendered picture of a person who does not exist, made by `python -m avatar.synthetic` of this project. Nothing in
it was recorded: the head is the open head of this package (made from MakeHuman data, CC0-1.0), skin, hair, clothes
and room are computed, and the voice is hibari-tts 0.2.1 (Apache-2.0, voice "heart").

To the extent possible under law, the authors dedicate both files to the public domain (CC0-1.0,
https://creativecommons.org/publicdomain/zero/1.0/); they may also be used under this project's Apache-2.0 licence.
"""


def main(
    out: tyro.conf.Positional[Path],
    /,
    *,
    look: str = "light",
    seed: int = 7,
    size: int = 400,
    crf: int = 20,
    workers: int = 2,
    text: str = TEXT,
) -> None:
    """Renders the demo clip with its ground truth and licence note.

    Args:
        out: Folder that gets demo.mp4, demo_truth.npz and demo.LICENSE.txt.
        look: One of the looks of `avatar.synthetic.looks`.
        seed: Seed of everything random.
        size: Width and height in pixels.
        crf: H.264 quality; larger is smaller.
        workers: Processes.
        text: What is said.
    """
    head = load_head()
    settings = ClipSettings(look=LOOKS[look], seed=seed, size=size)
    utterance = speak(text, seed=seed)
    seconds = len(utterance.samples) / utterance.rate
    motion = synthetic_motion(head, seconds=seconds, settings=settings, phones=utterance.phones)
    images = render_motion(head, motion, settings=settings, workers=workers)
    write_demo(out, images, motion=motion, utterance=utterance, settings=settings, crf=crf)


def write_demo(
    out: Path,
    images: Iterable[UInt8[np.ndarray, "H W 3"]],
    *,
    motion: Motion,
    utterance: Utterance,
    settings: ClipSettings,
    crf: int,
) -> None:
    """Writes the three files; the sound is cut or padded to the length of the pictures.

    Args:
        out: Folder, made when absent.
        images: One picture for every row of `motion`.
        motion: The truth.
        utterance: The sound.
        settings: What the pictures were rendered with.
        crf: H.264 quality.
    """
    out.mkdir(parents=True, exist_ok=True)
    fps, size = Fraction(settings.fps).limit_denominator(1001), settings.size
    length = round(len(motion) / fps * utterance.rate)
    samples = np.pad(utterance.samples, (0, max(0, length - len(utterance.samples))))[:length]
    audio = ((0.7 / np.abs(samples).max() * samples).astype(np.float32), utterance.rate)
    with VideoWriter(out / "demo.mp4", fps=fps, width=size, height=size, audio=audio, crf=crf) as video:
        for index, image in enumerate(images):
            video.write(image)
            if index % 25 == 0:
                logger.info("%d of %d frames", index, len(motion))
    camera = clip_camera(settings)
    truth = motion.arrays() | {"focal": np.array(camera.K[0, 0]), "size": np.array([camera.width, camera.height])}
    np.savez_compressed(out / "demo_truth.npz", **truth)  # pyright: ignore[reportArgumentType]
    (out / "demo.LICENSE.txt").write_text(LICENCE)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tyro.cli(main)
