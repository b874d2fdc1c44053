"""What a capture report's figures are judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar.preprocess.capture_figures import STOP, WARNING


@dataclass(frozen=True)
class CaptureLimits:
    """Where a figure becomes a warning, or a stop. docs/capture.md gives the reason and the measurement for each.

    Attributes:
        seconds_stop: Seconds with a face; picture and sound are not aligned, nor speech learned, from less than this.
        seconds_warn: The field's recordings are two to five minutes; below one, sounds and views are missing.
        lost_warn: Share of the frames without a face.
        lost_stop: The same; most of the recording is something else then.
        covered_warn: Share of the frames with a face before which something is; what it hides is not learnt there.
        face_pixels_warn: Height of the face in pixels of the recording; the landmark network's own input has 170.
        face_pixels_stop: Below this, eyes and lips are a few pixels wide.
        fps_warn: Frames a second; a syllable lasts about 200 ms, a blink 150.
        fps_stop: Below this, blinks fall between frames.
        edge_warn: Edge width in per cent of the face's height: finer than this is skin, coarser hides lashes and teeth.
        edge_stop: The same; eyelids and lips are not separate any more.
        bright_warn: Luma of the face's brightest twentieth; eyes' whites, teeth and shine of any skin are above it.
        bright_stop: The same; 8-bit video has a dozen steps left for the whole face.
        highlights_warn: Share of the face's pixels that are clipped.
        highlights_stop: The same.
        drift_warn: Change of the face's brightness over the clip in stops, 5th to 95th percentile.
        cut_off_warn: Share of the frames in which the head reaches the picture's border.
        yaw_warn: Degrees from the leftmost to the rightmost turn (2nd to 98th percentile).
        pitch_warn: Degrees from the lowest to the highest nod.
        action_warn: Least range of an action's score that counts as seen.
        shape_warn: Least number of times that a shape of the mouth is to be seen.
        blinkless_warn: Seconds without a blink; at 17 a minute, 20 s pass without one in 0.3 % of cases.
        speech_db_warn: Level of speech in dB of full scale.
        snr_warn: Speech over noise in dB; speech recognition gets worse below 10 to 15 (Radford et al. 2022, figure 5).
        clipped_warn: Share of the samples at full scale.
        speech_share_warn: Share of the clip in which somebody speaks.
        tracking_warn: Median tracking error as a share of the distance of the outer eye corners (about 90 mm).
        tracking_stop: The same; the fit is a third of an iris off then.
        outliers_warn: Share of the frames that the tracker could not follow.
    """

    seconds_stop: float = 4.0
    seconds_warn: float = 60.0
    lost_warn: float = 0.05
    lost_stop: float = 0.5
    covered_warn: float = 0.05
    face_pixels_warn: float = 128.0
    face_pixels_stop: float = 48.0
    fps_warn: float = 20.0
    fps_stop: float = 10.0
    edge_warn: float = 1.2
    edge_stop: float = 3.0
    bright_warn: float = 60.0
    bright_stop: float = 25.0
    highlights_warn: float = 0.03
    highlights_stop: float = 0.4
    drift_warn: float = 0.5
    cut_off_warn: float = 0.1
    yaw_warn: float = 20.0
    pitch_warn: float = 10.0
    action_warn: float = 0.15
    shape_warn: int = 3
    blinkless_warn: float = 20.0
    speech_db_warn: float = -42.0
    snr_warn: float = 15.0
    clipped_warn: float = 0.001
    speech_share_warn: float = 0.3
    tracking_warn: float = 0.012
    tracking_stop: float = 0.04
    outliers_warn: float = 0.05


def low(value: float, warn: float, stop: float = -np.inf) -> str | None:
    """The severity of a value that should be large."""
    return STOP if value < stop else WARNING if value < warn else None


def high(value: float, warn: float, stop: float = np.inf) -> str | None:
    """The severity of a value that should be small."""
    return low(-value, -warn, -stop)
