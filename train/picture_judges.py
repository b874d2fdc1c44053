"""What of single pictures is judged: closeness to the truth, sharpness, edges, seams and identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.train.metrics import ms_ssim, region_metrics, surroundings, within
from avatar.train.perceptual import LEAST_SIDE
from avatar.train.sharpness import cpbd, edge_blur
from avatar.train.tally import TRUTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor

    from avatar.train.perceptual import PerceptualDistance
    from avatar.train.tally import Moment, Tally

# How far inside and outside a border colours are compared, pixels, and how smooth the border's direction is taken.
STEP, SMOOTH = 2.0, 2.0


class PixelJudge:
    """PSNR, SSIM and L1 of every moment, MS-SSIM of the sampled ones, by region; and where the squared error sits."""

    def __init__(self) -> None:
        self._errors: dict[str, dict[str, list[float]]] = {}

    def see(self, moment: Moment, tally: Tally) -> None:
        """Compares every row with the truth."""
        pictures = {row: picture.astype(np.float32) / 255 for row, picture in moment.pictures.items()}
        truth = pictures.pop(TRUTH)
        for row, picture in pictures.items():
            for name, region in moment.regions.items():
                tally.add(row, name, **region_metrics(picture, truth, region))
                if moment.sampled:
                    tally.add(row, name, ms_ssim=ms_ssim(picture, truth, region))
            error = np.square(picture - truth).mean(-1)
            sums = self._errors.setdefault(row, {})
            for name, part in moment.parts.items():
                sums.setdefault(name, []).append(float(error[part].sum()))
                sums.setdefault(f"{name} area", []).append(float(part.sum()))

    def finish(self, tally: Tally) -> None:
        """The truth is itself: no error, and a PSNR without bound, which JSON has no number for."""
        for name in tally.rows().get(next(iter(self._errors), ""), {}):
            tally.set(TRUTH, name, psnr=None, ssim=1.0, ms_ssim=1.0, l1=0.0)

    def errors(self) -> dict[str, dict[str, dict[str, float]]]:
        """By row and part of the head: its share of the squared error, of the area, and its own PSNR in dB."""
        found = {}
        for row, sums in self._errors.items():
            names = [name for name in sums if not name.endswith(" area")]
            error, area = ({n: sum(sums[n + kind]) for n in names} for kind in ("", " area"))
            found[row] = {
                name: {
                    "error_share": error[name] / max(sum(error.values()), 1e-12),
                    "area_share": area[name] / max(sum(area.values()), 1e-12),
                    "psnr": float(-10 * np.log10(error[name] / max(area[name], 1e-12) + 1e-12)),
                }
                for name in names
            }
        return found


class PerceptualJudge:
    """A perceptual distance, by region: in the region's surroundings, the truth outside the region.

    It looks at sampled moments, and at the mouth in every moment: that is small, and no two frames of it are alike.

    Args:
        metric: Its name in the figures.
        distance: The metric.
    """

    def __init__(self, metric: str, distance: PerceptualDistance) -> None:
        self._metric, self._distance = metric, distance

    def see(self, moment: Moment, tally: Tally) -> None:
        """Compares every row with the truth."""
        truth = moment.pictures[TRUTH].astype(np.float32) / 255
        for name, region in moment.regions.items():
            if not (moment.sampled or name == "mouth"):
                continue
            window = _roomy(region)
            if min(truth[window].shape[:2]) < LEAST_SIDE:
                continue
            wanted: list[Tensor] = self._distance.features(truth[window])
            for row, picture in moment.pictures.items():
                if row != TRUTH:
                    shown = within(picture[window].astype(np.float32) / 255, truth[window], region[window])
                    value = self._distance.between(self._distance.features(shown), wanted)
                    tally.add(row, name, **{self._metric: value})
            tally.add(TRUTH, name, **{self._metric: 0.0})

    def finish(self, tally: Tally) -> None:
        """Nothing is left to add."""


class SharpnessJudge:
    """CPBD of every moment: a mouth has some twenty edges a frame, of which a few frames say little."""

    def see(self, moment: Moment, tally: Tally) -> None:
        """Judges every row by itself."""
        for row, picture in moment.pictures.items():
            blur = edge_blur(picture)
            for name, region in moment.regions.items():
                tally.add(row, name, cpbd=cpbd(blur, region))

    def finish(self, tally: Tally) -> None:
        """Nothing is left to add."""


class EdgeJudge:
    """What was rendered and what was pasted; alpha at the silhouette; the seam that pasting the head would leave."""

    def see(self, moment: Moment, tally: Tally) -> None:
        """Measures the alphas and, of every row, the seam around the head."""
        head = moment.regions["head"]
        for row, alpha in moment.alphas.items():
            for name, region in moment.regions.items():
                covered = float(alpha[region].mean())
                tally.add(row, name, rendered_share=covered, plate_share=1 - covered, pasted_share=0.0)
            if moment.edge.any():
                tally.add(row, "head", edge_alpha=float(alpha[moment.edge].mean()))
        if moment.edge.any():
            tally.add(TRUTH, "head", edge_alpha=float(moment.mask[moment.edge].mean()))
        truth = moment.pictures[TRUTH]
        for row, picture in moment.pictures.items():
            tally.add(row, "head", seam=seam(picture, truth, head))

    def finish(self, tally: Tally) -> None:
        """The nearest frame is a recording: all of it is pasted."""
        for row in tally.rows():
            if tally.mean(row, "head", "rendered_share") is None:
                for region in tally.rows()[row]:
                    tally.set(row, region, rendered_share=0.0, plate_share=0.0, pasted_share=1.0)


class IdentityJudge:
    """Distance of sampled moments from the recording's own face, and from the person in the training frames.

    The second is smaller for a smooth face than for the recording itself, which differs from its own mean.

    Args:
        describe: The descriptor, of `avatar.train.identity.load_identity`.
        person: (128,) mean descriptor of the training frames.
    """

    def __init__(
        self,
        describe: Callable[[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "478 3"]], Float[np.ndarray, " 128"]],
        person: Float[np.ndarray, " 128"],
    ) -> None:
        self._describe, self._person = describe, person

    def see(self, moment: Moment, tally: Tally) -> None:
        """Describes every row where the recording shows the face."""
        if not moment.sampled or not np.isfinite(moment.landmarks).all():
            return
        found = {row: self._describe(picture, moment.landmarks) for row, picture in moment.pictures.items()}
        for row, descriptor in found.items():
            from_truth, from_person = (np.linalg.norm(descriptor - other) for other in (found[TRUTH], self._person))
            tally.add(row, "face", identity_distance=float(from_truth), identity_from_person=float(from_person))

    def finish(self, tally: Tally) -> None:
        """Nothing is left to add."""


def seam(
    picture: UInt8[np.ndarray, "H W 3"], truth: UInt8[np.ndarray, "H W 3"], region: Bool[np.ndarray, "H W"]
) -> float | None:
    """The step in colour that a region of the picture would show at its border if it were pasted over the truth.

    Colours in [0, 1] two pixels inside the border less those two pixels outside it, as the pasted picture has them and
    as the truth has them: the mean absolute difference of the two over the border, without feathering. None where the
    region has no border in the picture.
    """
    inside = region.astype(np.uint8)
    border = (inside - cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1)) > 0
    if not border.any():
        return None
    soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), SMOOTH)
    inward = np.stack([cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)], -1)[border]
    inward /= np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-9)
    rows, columns = np.nonzero(border)
    at = np.stack([columns, rows], -1).astype(np.float32)
    within_, beyond = at + STEP * inward, at - STEP * inward
    pasted = np.where(region[..., None], picture, truth)
    steps = [_sampled(image, within_) - _sampled(image, beyond) for image in (pasted, truth)]
    return float(np.abs(steps[0] - steps[1]).mean()) / 255


def _sampled(image: UInt8[np.ndarray, "H W 3"], at: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 3"]:
    found = cv2.remap(image, at[None].astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return found[0].astype(np.float32)


def _roomy(region: Bool[np.ndarray, "H W"]) -> tuple[slice, slice]:
    """The region's surroundings, wide enough for the network where the picture is."""
    window = surroundings(region, 8)
    spans = []
    for span, side in zip(window, region.shape, strict=True):
        stop = min(span.stop, side)
        lacking = max(LEAST_SIDE - (stop - span.start), 0)
        start = max(min(span.start - (lacking + 1) // 2, side - LEAST_SIDE), 0)
        spans.append(slice(start, min(max(stop + lacking // 2, start + LEAST_SIDE), side)))
    return spans[0], spans[1]
