"""What is before the face for a while, such as a hand or a microphone: pixels that tell nothing of the person.

A place of the skin looks different from frame to frame by light, shade and folds, which go together over the whole
face: a few components of the clip explain them. What these leave is small everywhere for most of the time, and how
large it usually is at each place, the clip itself tells. A hand, though of the same skin, has edges and shadows many
times larger, that hang together over a part of the face. The components are found without what they do not explain
(robust principal components by imputation: de la Torre and Black, "A framework for robust subspace learning", 2003).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from avatar.preprocess._threads import map_ordered, map_tensors
from avatar.preprocess.unwrapping import UnwrappedFace
from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

    from avatar.heads import Head
    from avatar.io.take import Take

STAGE = "covered"
CPU = torch.device("cpu")
# Frames that tell how the face looks, and the fewest that can.
SAMPLED, FEWEST = 400, 50
COMPONENTS, ROUNDS = 6, 8
# Deviations are in units of the median one at their place, which is at least so many 8-bit levels, and of what is usual
# in their frame: the quantile that a face of which less than half is covered still shows of itself.
LEAST_SPREAD, QUANTILE = 2.0, 0.4
# What deviates so much tells nothing about the components; 5 times the median is 8 standard deviations of a Gaussian.
UNEXPLAINED = 5.0
# Means over squares of so many cells, a finger's breadth: something covers the face where they are above the first
# limit, as far as they stay above the second, each cell counted up to the third.
BREADTH, CERTAIN, POSSIBLE, MOST = 5, 6.0, 3.0, 12.0
# Gaps within it, and between it and the face's outline, over which it came, are covered up to this many cells across.
GAP = 9
# It covers at least this share of the face.
LEAST_SHARE = 0.02
# What was covered and is so again within this many seconds on either side was covered between.
BRIDGED = 0.15


@dataclass(frozen=True)
class Covered:
    """Where something is before the face.

    Attributes:
        face: The unwrapped face.
        judged: (h, w) the cells that could be judged.
        cells: By row of the take, the bits of the (h, w) cells that are covered; only rows where some are.
        looked_at: How many frames were asked about.
    """

    face: UnwrappedFace
    judged: Bool[np.ndarray, "h w"]
    cells: dict[int, bytes]
    looked_at: int

    def __call__(self, index: int) -> Bool[np.ndarray, "H W"] | None:
        """The pixels of a frame that are covered, on the face and beside it; None where there are none."""
        return self.face.nearer(index, self.marked(index), self.judged) if index in self.cells else None

    def marked(self, index: int) -> Bool[np.ndarray, "h w"]:
        """The covered cells of a frame."""
        shape = self.face.face.shape
        if index not in self.cells:
            return np.zeros(shape, bool)
        bits = np.frombuffer(self.cells[index], np.uint8)
        return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)

    def figures(self) -> dict[str, float]:
        """Of the frames asked about, how many are covered somewhere, and what share of the face in them on average."""
        whole = np.count_nonzero(self.judged)
        shares = [np.count_nonzero(self.marked(index)) / whole for index in self.cells]
        return {
            "frames": self.looked_at,
            "covered_frames": len(shares),
            "covered_share": round(float(np.mean(shares)), 4) if shares else 0.0,
        }


def cover_take(take: Take, head: Head) -> dict[str, Any]:
    """Looks for what is before the face in any used frame of a tracked take, and stores it in the take.

    Args:
        take: The take, tracked.
        head: The head model it was tracked with.

    Returns:
        The figures of `Covered`; none where nothing was found.

    Raises:
        InputError: The take has not been tracked, or cannot be written to.
    """
    started = time.perf_counter()
    take.forget_covered()
    found = find_covered(take, head, np.flatnonzero(take.used), learnt=take.split()["train"])
    if found is not None:
        for index in found.cells:
            pixels = found(index)
            assert pixels is not None
            take.write_covered(index, pixels)
    figures: dict[str, Any] = {} if found is None else found.figures()
    take.record(STAGE, seconds=time.perf_counter() - started, **figures)
    return figures


def find_covered(
    take: Take, head: Head, indices: Int[np.ndarray, " n"], *, learnt: Int[np.ndarray, " m"]
) -> Covered | None:
    """Looks for what covers the face in some frames of a tracked take; None where nothing does.

    A few hundred frames are read; of the others those beside a frame in which something was found.

    Args:
        take: The take.
        head: The head model it was tracked with.
        indices: Rows, increasing.
        learnt: Those of them that may tell how the face usually looks.
    """
    sampled = np.unique(evenly_spread(indices, SAMPLED))
    telling = np.isin(sampled, learnt)
    if telling.sum() < FEWEST:
        return None
    face = UnwrappedFace.of(take, head)
    # Both cores share the frames.
    colors = np.stack(list(map_tensors(face.colors, sampled.tolist(), device=CPU)))
    usual = UsualFace.of(colors[telling], face.face)

    def marked(seen: Float[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
        return covered_cells(usual, face.firm, seen)

    marks = zip(sampled.tolist(), map_ordered(marked, colors), strict=True)
    found = {index: cells for index, cells in marks if cells.any()}
    if not found:
        return None
    after = np.searchsorted(sampled, indices)
    beside = np.isin(sampled, [*found])[np.stack([after - 1, after.clip(max=len(sampled) - 1)])].any(0)
    others = np.setdiff1d(indices[beside], sampled).tolist()
    marks = zip(others, map_tensors(lambda index: marked(face.colors(index)), others, device=CPU), strict=True)
    found |= {index: cells for index, cells in marks if cells.any()}
    cells = {index: np.packbits(marks).tobytes() for index, marks in bridged(found, take.times).items()}
    return Covered(face, usual.face, cells, len(indices))


def bridged(
    found: dict[int, Bool[np.ndarray, "h w"]], times: Float[np.ndarray, " T"]
) -> dict[int, Bool[np.ndarray, "h w"]]:
    """The cells covered in each row of a take, with those that are so shortly before and shortly after.

    Args:
        found: By row, what was found.
        times: (T,) seconds.
    """
    result = {}
    for index in range(min(found), max(found) + 1):
        beside = range(*np.searchsorted(times, [times[index] - BRIDGED, times[index] + BRIDGED]).tolist())
        before, after = (
            [found[row] for row in beside if row in found and (row <= index if early else row >= index)]
            for early in (True, False)
        )
        if before and after:
            result[index] = np.any(before, 0) & np.any(after, 0)
    return {index: marks for index, marks in result.items() if marks.any()}


@dataclass(frozen=True)
class UsualFace:
    """How the skin looks in a clip, and how far it usually deviates from that.

    Attributes:
        face: (h, w) the cells that are judged: those on the face that most frames show.
        mean: (n, 3) what they look like, 8-bit sRGB.
        components: (K, 3 n) in which looks vary, orthonormal, in units of `spread`.
        spread: (n,) median deviation of the colours.
        slopes: (h, w) median deviation of the colours' slopes.
        calm: (2,) `QUANTILE` of the deviations in the median frame, of colours and of slopes, in their units.
    """

    face: Bool[np.ndarray, "h w"]
    mean: Float[np.ndarray, "n 3"]
    components: Float[np.ndarray, "K n3"]
    spread: Float[np.ndarray, " n"]
    slopes: Float[np.ndarray, "h w"]
    calm: Float[np.ndarray, " 2"]

    @classmethod
    def of(cls, colors: Float[np.ndarray, "T h w 3"], face: Bool[np.ndarray, "h w"]) -> UsualFace:
        """Learns it from frames in less than half of which any place is covered; NaN where a place is not seen."""
        face = face & (np.isfinite(colors[..., 0]).mean(0) > 0.5)
        values = colors[:, face]
        seen = np.isfinite(values[..., 0])
        mean = _quantile(values, seen[..., None], 0.5, axis=0)[0]
        values = _evened(values, mean, seen)
        mean = _quantile(values, seen[..., None], 0.5, axis=0)[0]
        expected = np.broadcast_to(mean, values.shape)
        components, spread = np.zeros((0, mean.size), np.float32), np.ones(len(mean), np.float32)
        for _ in range(ROUNDS):
            away = _length(values - expected)
            spread = np.maximum(_quantile(away, seen, 0.5, axis=0)[0], LEAST_SPREAD)
            calm = _calm(away / spread, seen)
            filled = np.where(_explained(away / spread, seen, calm)[..., None], values, expected)
            mean = filled.mean(0)
            apart = ((filled - mean) / spread[:, None]).reshape(len(filled), -1)
            # The frames' inner products have few rows: their eigenvectors are the components' weights.
            sizes, weights = np.linalg.eigh(apart @ apart.T)
            kept = sizes > 1e-6 * max(float(sizes[-1]), 1.0)
            kept[:-COMPONENTS] = False
            components = (weights[:, kept].T @ apart) / np.sqrt(sizes[kept])[:, None]
            expected = mean + ((apart @ components.T) @ components).reshape(filled.shape) * spread[:, None]
        learning = cls(face, mean, components, spread, np.ones(face.shape, np.float32), np.ones(2))
        away, sloping, shown = learning._apart(colors)
        slopes = np.maximum(_quantile(sloping, shown, 0.5, axis=0)[0], LEAST_SPREAD)
        flat = shown.reshape(len(shown), -1)
        calm = [_calm(part.reshape(flat.shape), flat) for part in (away, sloping / slopes)]
        return cls(face, mean, components, spread, slopes, np.array(calm))

    def deviations(self, colors: Float[np.ndarray, "T h w 3"]) -> tuple[np.ndarray, Bool[np.ndarray, "T h w"]]:
        """How far frames are from what is usual, in the median deviation at each cell, and which cells are seen."""
        away, sloping, shown = self._apart(colors)
        flat = shown.reshape(len(shown), -1)
        result = np.zeros(shown.shape, np.float32)
        for part, calm in zip((away, sloping / self.slopes), self.calm, strict=True):
            level = _quantile(part.reshape(flat.shape), flat, QUANTILE, axis=1) / max(float(calm), 1e-6)
            result = np.maximum(result, part / np.maximum(level, 1)[..., None])
        return np.where(shown, result, 0), shown

    def _apart(self, colors: Float[np.ndarray, "T h w 3"]) -> tuple[np.ndarray, np.ndarray, Bool[np.ndarray, "T h w"]]:
        """Deviations of colours in units of `spread`, of their slopes in 8-bit levels a cell, and what is seen."""
        values = colors[:, self.face]
        seen = np.isfinite(values[..., 0])
        values = _evened(values, self.mean, seen)
        expected = np.broadcast_to(self.mean, values.shape)
        for _ in range(ROUNDS):
            away = _length(values - expected) / self.spread
            filled = np.where(_explained(away, seen, _calm(away, seen))[..., None], values, expected)
            apart = ((filled - self.mean) / self.spread[:, None]).reshape(len(filled), -1)
            along = ((apart @ self.components.T) @ self.components).reshape(filled.shape)
            expected = self.mean + along * self.spread[:, None]
        left = np.where(seen[..., None], values - expected, 0)
        grid = np.zeros((len(colors), *self.face.shape), np.float32)
        shown = np.zeros(grid.shape, bool)
        away, luma = grid.copy(), grid.copy()
        shown[:, self.face], luma[:, self.face] = seen, left.mean(-1)
        away[:, self.face] = _length(left) / self.spread
        sloping = np.zeros(grid.shape, np.float32)
        for axis in (1, 2):
            ahead, behind = (np.roll(luma, step, axis) for step in (-1, 1))
            both = np.roll(shown, -1, axis) & np.roll(shown, 1, axis)
            sloping += np.where(both, ahead - behind, 0) ** 2
        return away, np.sqrt(sloping), shown


def covered_cells(
    usual: UsualFace, firm: Bool[np.ndarray, "h w"], colors: Float[np.ndarray, "h w 3"]
) -> Bool[np.ndarray, "h w"]:
    """The cells of a frame where something is before the face.

    Args:
        usual: How the face looks.
        firm: Cells away from mouth and eyes, whose own movement is no sign of anything.
        colors: What the frame shows, 8-bit sRGB; NaN where the face is not seen.
    """
    away, seen = (value[0] for value in usual.deviations(colors[None]))
    possible = seen & (_around(away, seen) > POSSIBLE)
    certain = possible & firm & (_around(away, seen & firm) > CERTAIN)
    count, labels = cv2.connectedComponents(_closed(possible, BREADTH))
    least, marks = LEAST_SHARE * np.count_nonzero(usual.face), np.zeros(seen.shape, bool)
    for label in range(1, count):
        part = labels == label
        if (part & certain).sum() >= least:
            marks |= part
    if not marks.any():
        return marks
    beside = ~usual.face
    marks |= (_closed(marks | beside, GAP) > 0) & (_closed(beside, GAP) == 0)
    return (cv2.dilate(marks.astype(np.uint8), _disc(BREADTH)) > 0) & usual.face


def _around(away: Float[np.ndarray, "h w"], among: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Mean deviations in the squares around the cells, of those cells alone that are among some."""
    total, count = (
        cv2.blur(part.astype(np.float32), (BREADTH, BREADTH), borderType=cv2.BORDER_CONSTANT)
        for part in (away.clip(max=MOST) * among, among)
    )
    return total / np.maximum(count, 0.2)


def _closed(marks: Bool[np.ndarray, "h w"], size: int) -> UInt8[np.ndarray, "h w"]:
    """Marks with their gaps of up to so many cells filled, 0 or 1."""
    wide = cv2.copyMakeBorder(marks.astype(np.uint8), size, size, size, size, cv2.BORDER_REPLICATE)
    return cv2.morphologyEx(wide, cv2.MORPH_CLOSE, _disc(size))[size:-size, size:-size].copy()


def _disc(size: int) -> UInt8[np.ndarray, "size size"]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)).astype(np.uint8)


def _quantile(values: np.ndarray, seen: np.ndarray, share: float, *, axis: int) -> np.ndarray:
    """A quantile of what is seen along an axis, which stays with length one; zero where nothing is."""
    seen = np.broadcast_to(seen, values.shape)
    ordered = np.sort(np.where(seen, values, np.inf), axis)
    count = seen.sum(axis, keepdims=True)
    chosen = np.take_along_axis(ordered, np.maximum((share * (count - 1)).astype(int), 0), axis)
    return np.where(count > 0, chosen, 0).astype(np.float32)


def _evened(values: np.ndarray, mean: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Colours (T, n, 3) without what all of the face in a frame has more or less of than usual; 0 where unseen."""
    return np.where(seen[..., None], values - _quantile(values - mean, seen[..., None], 0.5, axis=1), 0)


def _length(apart: np.ndarray) -> np.ndarray:
    """Root mean square over the channels."""
    return np.sqrt(np.square(apart).mean(-1))


def _calm(away: np.ndarray, seen: np.ndarray) -> float:
    """`QUANTILE` of a frame's deviations in the median frame."""
    return float(np.median(_quantile(away, seen, QUANTILE, axis=1)))


def _explained(away: np.ndarray, seen: np.ndarray, calm: float) -> np.ndarray:
    """Which of the deviations (T, n) are within what is usual for their place and their frame."""
    level = _quantile(away, seen, QUANTILE, axis=1) / max(calm, 1e-6)
    return seen & (away / np.maximum(level, 1) < UNEXPLAINED)
