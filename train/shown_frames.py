"""Which held-out frames a report shows, and the recording beside the avatar in them, with eyes and mouth enlarged."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from avatar.train.evaluation import held_out_frames

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.take import Take
    from avatar.train.evaluation import FrameFigures, HeldOutFrame

COLUMN, GAP, BORDER = 340, 6, 128
# Landmarks around a part (MediaPipe's face mesh), its share of the crop's width, and the crop's height over its width.
EYES = ((33, 263), 0.72, 0.4)
MOUTH = ((61, 291), 0.6, 0.5)
# A lid is closed, a mouth open or a head turned from here on; less is not worth a picture.
CLOSED, OPEN, TURNED = 0.5, 0.06, 4.0


class ShownFrame(NamedTuple):
    """A held-out frame of the report.

    Attributes:
        frame: The recording and the avatar.
        names: Why it is shown, in words.
        time: Seconds.
        psnr: Its PSNR within the head, dB.
        picture: (H, W, 3) recording beside avatar: the face, the eyes, the mouth.
    """

    frame: HeldOutFrame
    names: list[str]
    time: float
    psnr: float
    picture: UInt8[np.ndarray, "H W 3"]


def chosen_frames(take: Take, figures: FrameFigures) -> dict[int, list[str]]:
    """Rows of the take with the reasons to show them: best, median, worst, open mouth, blink, largest turn."""
    rows = np.array(figures.index)
    order = np.argsort(figures.psnr, kind="stable")
    motion = take.motion()[rows]
    turn = (Rotation.from_rotvec(motion.global_orient) * Rotation.from_rotvec(motion.neck_pose)).as_euler("YXZ")[:, 0]
    turn, lids, jaw = np.degrees(np.abs(turn)), motion.eyelids.mean(1), motion.jaw_pose[:, 0]
    places = [
        ("best frame", int(order[-1]), True),
        ("median frame", int(order[len(order) // 2]), True),
        ("worst frame", int(order[0]), True),
        ("open mouth", int(np.argmax(jaw)), jaw.max() > OPEN),
        ("blink", int(np.argmax(lids)), lids.max() > CLOSED),
        (f"largest turn, {turn.max():.0f}°", int(np.argmax(turn)), turn.max() > TURNED),
    ]
    result: dict[int, list[str]] = {}
    for name, place, worth in places:
        if worth:
            result.setdefault(int(rows[place]), []).append(name)
    return result


def shown_frames(take: Take, gaussians: GaussianHead, figures: FrameFigures) -> list[ShownFrame]:
    """The chosen frames, drawn, in the order in which they were chosen."""
    chosen = chosen_frames(take, figures)
    landmarks = take.perception()["landmarks"]
    at = {index: place for place, index in enumerate(figures.index)}
    drawn = {
        frame.index: ShownFrame(
            frame,
            chosen[frame.index],
            figures.time[at[frame.index]],
            figures.psnr[at[frame.index]],
            side_by_side(frame, landmarks[frame.index]),
        )
        for frame in held_out_frames(take, gaussians, indices=np.array(sorted(chosen)))
    }
    return [drawn[index] for index in chosen]


def side_by_side(frame: HeldOutFrame, landmarks: Float[np.ndarray, "478 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Recording left, avatar right: the face, and below it eyes and mouth enlarged where they are known."""
    columns = []
    for picture in (frame.truth, frame.render):
        rows = [fitted(picture, COLUMN)]
        for points, share, aspect in (EYES, MOUTH):
            corners = landmarks[list(points), :2]
            if np.isfinite(corners).all():
                rows.append(close_up(picture, corners, share, aspect))
        gap = np.full((GAP, COLUMN, 3), BORDER, np.uint8)
        stacked = [part for row in rows for part in (row, gap)][:-1]
        columns.append(np.concatenate(stacked))
    bar = np.full((len(columns[0]), GAP, 3), BORDER, np.uint8)
    return np.concatenate([columns[0], bar, columns[1]], axis=1)


def fitted(picture: UInt8[np.ndarray, "H W 3"], width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A picture at another width."""
    height = round(picture.shape[0] * width / picture.shape[1])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def close_up(
    picture: UInt8[np.ndarray, "H W 3"],
    corners: Float[np.ndarray, "2 2"],
    share: float,
    aspect: float,
    *,
    column: int = COLUMN,
) -> UInt8[np.ndarray, "h w 3"]:
    """An upright window around two corners, which take `share` of its width."""
    width = max(float(np.linalg.norm(corners[1] - corners[0])) / share, 8.0)
    scale = column / width
    shift = np.array([column, column * aspect]) / 2 - scale * corners.mean(0)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(
        picture, matrix, (column, round(column * aspect)), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
