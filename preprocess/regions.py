"""Which pixels belong to the head and which to the clothes, learnt from the subject's own colours in the clip.

No general parser of hair, skin and clothes is assumed. A few dozen frames give histograms of the subject's skin (inside
the face mesh), hair (in the person mask around the upper face) and clothes (in the mask well below the chin); every
pixel below the mouth is then judged by the ratio of those, by how far below the chin it lies, and by whether it hangs
together with the face.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.errors import InputError
from avatar.face_mesh import EYE_CORNERS, OVAL
from avatar.io.parts import BACKGROUND, HEAD, TORSO
from avatar.preprocess import _face_graph as graph
from avatar.preprocess._threads import map_ordered

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int8, UInt8

    Votes = Int8[np.ndarray, "H W"]

# Histogram bins of Lab: lightness coarse, since shade changes it on one material, hue fine.
_BINS = (16, 32, 32)
_SHIFTS = (4, 3, 3)
# A chin is bearded where so much of it has colours that the upper face has so much less of, in any shade (log ratio).
_BEARDED, _FOREIGN = 0.5, 2.0
# A beard in the colours of the clothes is believed so far below the chin and beside the middle, in face heights; it
# narrows downwards by as much as it is long.
_BEARD_LENGTH, _BEARD_REACH = 0.25, 0.4


@dataclass(frozen=True)
class FaceFrame:
    """Where a pixel lies in the face's own axes.

    Attributes:
        across: (H, W) from the face's middle line, positive to the image's right for an upright head, in face heights.
        below: (H, W) below the chin along the face's own down, in face heights (forehead to chin).
        size: Face height in pixels.
        mouth: `below` of the lips; negative.
    """

    across: Float[np.ndarray, "H W"]
    below: Float[np.ndarray, "H W"]
    size: float
    mouth: float


def face_frame(landmarks: Float[np.ndarray, "478 _"], height: int, width: int) -> FaceFrame:
    """The face's axes in the image plane; roll comes from the eye line, so that the jaw does not turn them."""
    right, left = (landmarks[index, :2].astype(np.float64) for index in EYE_CORNERS)
    side = (left - right) / max(float(np.linalg.norm(left - right)), 1e-6)
    down = np.array([-side[1], side[0]])
    chin, forehead, mouth = (landmarks[i, :2].astype(np.float64) for i in (graph.CHIN, graph.FOREHEAD, graph.MOUTH))
    # The forehead to the mouth stays the same when the jaw opens; the chin hangs a third of that lower when shut.
    size = max(float((mouth - forehead) @ down), 1.0) * 1.35
    origin = mouth + down * 0.26 * size
    # An open mouth lowers the chin, and what is above the real chin is never below the face.
    drop = max(float((chin - origin) @ down), 0.0)
    x, y = np.arange(width) + 0.5 - origin[0], np.arange(height) + 0.5 - origin[1]

    def along(axis: np.ndarray, start: float) -> np.ndarray:
        columns, rows = (x * axis[0] - start) / size, y * axis[1] / size
        return columns.astype(np.float32)[None] + rows.astype(np.float32)[:, None]

    return FaceFrame(along(side, 0.0), along(down, drop), size, -0.26 - drop / size)


def face_mask(landmarks: Float[np.ndarray, "478 _"], height: int, width: int, *, scale: float = 1.0) -> np.ndarray:
    """The inside of the face oval as uint8 0 or 1, shrunk or grown by `scale` around its middle."""
    oval = landmarks[list(OVAL), :2]
    middle = oval.mean(axis=0)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round((oval - middle) * scale + middle).astype(np.int32)], 1)
    return mask


class RegionModel:
    """The subject's colours, as log-likelihood ratios for every bin of Lab.

    Args:
        skin: (16 * 32 * 32,) skin and beard against clothes, positive for skin.
        hair: The same for hair against clothes.
        beard: The same for the chin against the upper face; None for a chin in the colours of the face.
    """

    def __init__(
        self, skin: Float[np.ndarray, " B"], hair: Float[np.ndarray, " B"], beard: Float[np.ndarray, " B"] | None = None
    ) -> None:
        self.skin, self.hair, self.beard = skin, hair, beard

    @classmethod
    def fit(
        cls, samples: Iterable[tuple[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "H W"], Float[np.ndarray, "478 _"]]]
    ) -> RegionModel:
        """Learns from frames spread over the clip; forty are plenty.

        Args:
            samples: Frames, their soft person masks and their landmarks. One is held at a time.

        Raises:
            InputError: There is no frame, or no frame shows the face inside the mask.
        """
        counts = {name: np.zeros(int(np.prod(_BINS))) for name in ("skin", "hair", "clothes", "chin", "upper face")}
        for image, alpha, landmarks in samples:
            height, width = alpha.shape
            codes, frame = _codes(image), face_frame(landmarks, height, width)
            around = face_mask(landmarks, height, width, scale=1.12)
            beside = np.abs(frame.across)
            skin = face_mask(landmarks, height, width, scale=0.92) > 0
            zones = {
                "skin": skin,
                "chin": skin & (frame.below > 0.55 * frame.mouth),
                "upper face": skin & (frame.below < frame.mouth - 0.2),
                "hair": (around == 0) & (frame.below < frame.mouth - 0.25),
                # Well below the collar, and higher up at the sides, where a neck never is.
                "clothes": (frame.below > 0.5) | ((frame.below > 0.2) & (beside > 0.6)),
            }
            for name, zone in zones.items():
                counts[name] += np.bincount(codes[zone & (alpha > 0.9)], minlength=counts[name].size)
        if counts["skin"].sum() == 0:
            raise InputError(
                "The subject's colours cannot be learnt",
                expected="frames with landmarks inside the person mask",
                found="none",
            )
        skin, hair = _density(_with_shadows(counts["skin"])), _density(counts["hair"])
        clothes = _density(counts["clothes"])
        beard = _beard_colours(counts["chin"], counts["upper face"])
        return cls(_log_ratio(skin, clothes), _log_ratio(hair, clothes), beard)

    def label(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        alpha: Float[np.ndarray, "H W"],
        landmarks: Float[np.ndarray, "478 _"],
    ) -> UInt8[np.ndarray, "H W"]:
        """Labels of one frame: 0 background, 1 head above the collar, 2 torso and clothes."""
        height, width = alpha.shape
        frame = face_frame(landmarks, height, width)
        person = alpha > 0.5
        above = frame.below < frame.mouth
        face = face_mask(landmarks, height, width)
        head = (above | (face > 0)) & person
        # Only what lies below the mouth is in question; a band above it shows whether hair hangs down that far.
        question = (frame.below > frame.mouth - 0.25).any(axis=1)
        if question.any():
            part = slice(int(question.argmax()), height)
            head[part] |= self._neck_and_hair(image[part], frame, part, face[part], person[part])
        head = _attached((head & person).astype(np.uint8), face) & person
        return np.where(head, np.uint8(HEAD), np.where(person, np.uint8(TORSO), np.uint8(BACKGROUND)))

    def _neck_and_hair(
        self, image: np.ndarray, frame: FaceFrame, part: slice, face: np.ndarray, person: np.ndarray
    ) -> np.ndarray:
        """Skin and hair of the rows `part` by colour and place, bool."""
        below, beside = frame.below[part], np.abs(frame.across[part])
        codes = _codes(image)
        sigma, radius = max(frame.size / 150, 0.6), max(1, round(frame.size / 70))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        # Collars lie 0.1 to 0.5 face heights below the chin: colour outweighs place there, but not far from there.
        place = 0.3 - 2.5 * np.maximum(below, 0) - 2.0 * np.maximum(beside - 0.4, 0)
        skin = (cv2.GaussianBlur(self.skin.take(codes), (0, 0), sigma) + place > 0) & person
        if self.beard is not None:
            near = (below < _BEARD_LENGTH) & (beside + np.maximum(below, 0) < _BEARD_REACH)
            beard = near & person & (cv2.GaussianBlur(self.beard.take(codes), (0, 0), sigma) > 0)
            # A collar of its colour is apart from it, beyond the neck.
            skin |= beard & _reached(beard | (face > 0), face)
        # Opening cuts bridges such as a tie's edge, closing fills a necklace or a shadow.
        skin = cv2.morphologyEx((skin | (face > 0)).astype(np.uint8), cv2.MORPH_OPEN, kernel)
        skin = cv2.morphologyEx(cv2.bitwise_or(skin, face), cv2.MORPH_CLOSE, kernel)
        # The last pixel at the collar mixes both colours, and the head must hold none of the shirt; towards the
        # background nothing is taken off.
        skin = cv2.erode(np.where(person, skin, np.uint8(1)), np.ones((3, 3), np.uint8)) | face
        # Hair below the mouth is believed only where it hangs down from hair above it: dark cloth looks like dark hair.
        hair = cv2.GaussianBlur(self.hair.take(codes), (0, 0), sigma) - 1.5 * np.maximum(below, 0) > 0
        hair = cv2.morphologyEx((hair & person & (face == 0)).astype(np.uint8), cv2.MORPH_OPEN, kernel)
        _, strands = cv2.connectedComponents(hair, connectivity=4)
        hanging = np.unique(strands[(below < frame.mouth - 0.05) & (hair > 0)])
        return (skin > 0) | (np.isin(strands, hanging) & (strands > 0)) if len(hanging) else skin > 0


def label_parts(
    model: RegionModel,
    frames: Iterable[tuple[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "H W"], Float[np.ndarray, "478 _"] | None]],
    *,
    window: int = 5,
) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """Labels of consecutive frames, steadied by a running majority over time.

    Args:
        model: The subject's colours.
        frames: Frames, soft person masks and landmarks; None where the face was lost, which keeps the last landmarks.
        window: Frames in the majority, an odd number; half of it is held back.

    Returns:
        As many label images as frames, in order. The person's outline is each frame's own; time only steadies the
        border between head and torso.
    """
    return map_ordered(_majority, _windowed(_single_votes(model, frames), window // 2))


def _windowed(votes: Iterator[Votes], half: int) -> Iterator[tuple[int, list[Votes]]]:
    """Each frame's votes among those of `half` frames before and after it: its place there, and all of them."""
    held = list(islice(votes, half + 1))
    index = 0
    while index < len(held):
        first = max(0, index - half)
        yield index - first, held[first : index + half + 1]
        held.extend(islice(votes, 1))
        if index == half:
            held.pop(0)
        else:
            index += 1


def _majority(window: tuple[int, list[Votes]]) -> UInt8[np.ndarray, "H W"]:
    """Labels by the votes of a frame and its neighbours; its own break ties."""
    place, votes = window
    own = votes[place]
    lead = own + 2 * np.sum(votes, axis=0, dtype=np.int16)
    return np.where(own == 0, np.uint8(BACKGROUND), np.where(lead > 0, np.uint8(HEAD), np.uint8(TORSO)))


def _single_votes(model: RegionModel, frames: Iterable) -> Iterator[Votes]:
    """Votes of each frame by itself, with the last landmarks where it has none: 1 for head, -1 for torso.

    Background has no vote: where a head moves away, it leaves neither head nor torso.
    """
    ballot = np.array([0, 1, -1], np.int8)

    def with_last() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        last = None
        for image, alpha, landmarks in frames:
            last = landmarks if landmarks is not None else last
            yield image, alpha, last

    def vote(frame: tuple[np.ndarray, np.ndarray, np.ndarray | None]) -> np.ndarray:
        image, alpha, landmarks = frame
        if landmarks is None:
            return np.where(alpha > 0.5, ballot[TORSO], ballot[BACKGROUND])
        return ballot.take(model.label(image, alpha, landmarks))

    return map_ordered(vote, with_last())


def _reached(area: Bool[np.ndarray, "H W"], face: UInt8[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The parts of an area that hang together with the face."""
    _, components = cv2.connectedComponents(area.astype(np.uint8), connectivity=4)
    return np.isin(components, np.unique(components[(face > 0) & area])) & area


def _attached(head: UInt8[np.ndarray, "H W"], face: UInt8[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The part of `head` that hangs together with the face, its holes filled."""
    _, components = cv2.connectedComponents(head, connectivity=4)
    inside = components[(face > 0) & (head > 0)]
    if not len(inside):
        return head > 0
    whole = (components == np.bincount(inside).argmax()).astype(np.uint8)
    outline, _ = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(whole, outline, -1, 1, cv2.FILLED) > 0


def _codes(image: UInt8[np.ndarray, "H W 3"]) -> np.ndarray:
    lab = cv2.cvtColor(cv2.blur(image, (3, 3)), cv2.COLOR_RGB2LAB)
    channels = map(np.asarray, cv2.split(lab))
    light, a, b = (np.right_shift(channel, np.uint8(shift)) for channel, shift in zip(channels, _SHIFTS, strict=True))
    # Two bytes hold a code; small arrays are most of the speed here.
    return light * np.uint16(_BINS[1] * _BINS[2]) + a * np.uint16(_BINS[2]) + b


def _with_shadows(counts: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    """Adds the same colours under less light, as on a neck in the chin's shadow.

    Less light scales L* + 16, a* and b* by one factor (the cube root of CIE 1976 L*a*b*).
    """
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in _BINS), indexing="ij"), axis=-1).reshape(-1, 3)
    origin = np.array([-16 * 255 / 100, 128.0, 128.0])
    bin_size = 256 / np.array(_BINS)
    colours = (grid + 0.5) * bin_size - origin
    total = counts.copy()
    for factor, weight in ((0.9, 0.5), (0.8, 0.3), (0.7, 0.2), (0.6, 0.1)):
        cells = np.clip((colours * factor + origin) // bin_size, 0, np.array(_BINS) - 1).astype(int)
        codes = (cells[:, 0] * _BINS[1] + cells[:, 1]) * _BINS[2] + cells[:, 2]
        total += weight * np.bincount(codes, weights=counts, minlength=counts.size)
    return total


def _density(counts: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    """Histogram smoothed over neighbouring bins and normalised; zero where nothing was counted."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(counts.reshape(_BINS), sigma=(1.2, 0.7, 0.7), mode="nearest").ravel()
    return smooth / max(smooth.sum(), 1e-12)


def _beard_colours(chin: Float[np.ndarray, " B"], upper: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"] | None:
    """How much more common each colour is on the chin than on the upper face; None without a beard."""
    ratio = _log_ratio(_density(chin), _density(_with_shadows(upper)))
    return ratio if chin[ratio > _FOREIGN].sum() > _BEARDED * max(chin.sum(), 1) else None


def _log_ratio(head: np.ndarray, clothes: np.ndarray, *, limit: float = 4.0) -> Float[np.ndarray, " B"]:
    # A colour seen on neither is more likely cloth: the face is seen from all sides, the clothes in part.
    return np.clip(np.log((head + 1e-6) / (clothes + 1e-4)), -limit, limit).astype(np.float32)
