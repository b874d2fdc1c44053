"""Settings of the tracker."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class TrackingPriors:
    """Weights of the tracker's regularisers, against a reprojection error in per cent of the inter-ocular distance."""

    betas: float = 2e-3
    """On the sum of the squared identity coefficients (standard deviations)."""
    actions: float = 6e-2
    """L1 on the ARKit weights; L2 on the expression of a head model that has no ARKit map."""
    mouth_close: float = 10.0
    """Factor on the above for mouthClose: lips closed over an open jaw look almost like a closed jaw."""
    bounds: float = 1.0
    """On squared ARKit weights and lid closures below 0 or above 1."""
    offsets: float = 2e5
    """On the squared shared landmark offsets, per landmark, metres."""
    jaw_closing: float = 20.0
    """On the squared angle by which the jaw closes beyond its rest, radians."""
    jaw_sideways: float = 5.0
    """On the squared roll and yaw of the jaw, radians."""
    gaze: float = 0.1
    """On the squared gaze angles, radians."""
    rotation: float = 0.005
    """On the squared distance of the neck's and the root's rotation matrices from the identity."""
    iris: float = 20.0
    """On the squared relative deviation of the iris diameter from 11.8 mm, which gives the metric scale."""
    silhouette: float = 2.0
    """On the distance by which the skull leaves the person mask, per cent of the inter-ocular distance."""


@dataclass(frozen=True)
class TrackingSmoothness:
    """Weights of squared accelerations, in units per (1/25 s)^2, so that any frame rate is smoothed alike."""

    rotation: float = 200.0
    """Neck rotation matrix (two for each squared radian)."""
    place: float = 2e5
    """Sideways translation of the head, metres."""
    depth: float = 3e4
    """Logarithm of the depth."""
    jaw: float = 2.0
    """Jaw, radians."""
    gaze: float = 1.0
    """Gaze, radians."""
    lids: float = 0.01
    """Lid closure."""
    actions: float = 0.1
    """ARKit weights or expression coefficients."""

    def scaled(self, factor: float) -> TrackingSmoothness:
        """All weights times a factor."""
        return TrackingSmoothness(**{item.name: factor * getattr(self, item.name) for item in fields(self)})


@dataclass(frozen=True)
class TrackingConfig:
    """How a head model is fitted to the landmarks of a clip."""

    identity_components: int = 100
    """Number of identity coefficients to fit, at most as many as the head model has."""
    shared_frames: int = 120
    """Number of evenly chosen frames that give the shared unknowns. Identity and head rotation pull on the same pixels
    and settle slowly, so that many steps over a few frames serve better than few steps over many."""
    shared_steps: int = 400
    """Most Adam steps of the pass over those frames."""
    window_steps: int = 10
    """Most Gauss-Newton steps over one window, with the shared unknowns fixed."""
    tolerance: float = 5e-4
    """A pass ends once 20 Adam steps, or one Gauss-Newton step, lower the objective by less than this fraction."""
    window_frames: int = 1000
    """Most frames solved for at once; a longer clip is cut into overlapping windows of this length."""
    window_overlap: int = 60
    """Frames that neighbouring windows share; the results are cross-faded over them."""
    held_out_fraction: float = 0.1
    """Last part of the used frames, from which nothing shared is learnt: the test split of the take."""
    distance: float = 1.0
    """Median of the log-normal prior on the distance of the camera, metres, between a phone and a studio camera. The
    focal length is hardly observable from a frontal clip; the head's size in the picture turns one into the other."""
    distance_spread: float = 0.5
    """Standard deviation of the logarithm of that distance."""
    focal_weight: float = 0.02
    """Weight of that prior against the reprojection error."""
    self_calibration: bool = True
    """Whether points tracked through the pictures have a say in the focal length."""
    offset_landmarks: bool = True
    """Whether small shared 3D offsets correct the landmark embedding for this person."""
    detector_habits: bool = True
    """Whether landmarks come from our own detector, whose habits are known for the open head; exact ones have none."""
    charbonnier: float = 0.5
    """Error below which the reprojection loss is quadratic, per cent of the inter-ocular distance."""
    weight_lips: float = 2.5
    """Weight of the lip landmarks, against 1 for the face's interior."""
    weight_eyes: float = 2.5
    """Weight of the eye-contour landmarks."""
    weight_iris: float = 2.0
    """Weight of the iris landmarks."""
    weight_lid_gaps: float = 8.0
    """Weight of the gaps between upper and lower eye contour."""
    weight_lip_gaps: float = 4.0
    """Weight of the gaps between upper and lower inner lip."""
    weight_oval: float = 0.2
    """Weight of the face oval, which is no fixed place on the skin."""
    silhouette_frames: int = 60
    """Number of evenly chosen frames whose masks are used; 0 ignores the masks."""
    outlier_ratio: float = 3.0
    """A frame is flagged when its residual exceeds the clip's median so many times."""
    priors: TrackingPriors = field(default_factory=TrackingPriors)
    """Weights of the regularisers."""
    smoothness: TrackingSmoothness = field(default_factory=TrackingSmoothness)
    """Weights of the accelerations."""
