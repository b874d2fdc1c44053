"""From a moment of a programme, sliders and gains to a pose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.editing.emotions import emotional_expression
from avatar.editing.face import FaceMap
from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.motion import Motion

JOINT_ACTIONS = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight")


@dataclass
class Adjustments:
    """What is added to a motion, and how strongly the motion itself acts.

    Attributes:
        weights: ARKit weights by name, added to the face.
        emotions: Intensities of emotions by name, laid over the motion's own expression.
        neck: (3,) nod up, turn and tilt of the neck to the subject's left, degrees.
        gaze: (2,) eyes up and to the subject's left, degrees.
        jaw: (2,) opening and shift to the subject's left of the jaw, degrees.
        blink: Closure of both lids added, 0 to 1.
        expression_gain: Of the motion's expression; 1 leaves it.
        jaw_gain: Of its jaw.
        head_gain: Of its head movement about the mean.
        blink_gain: Of its lids.
    """

    weights: dict[str, float] = field(default_factory=dict)
    emotions: dict[str, float] = field(default_factory=dict)
    neck: list[float] = field(default_factory=lambda: [0.0] * 3)
    gaze: list[float] = field(default_factory=lambda: [0.0] * 2)
    jaw: list[float] = field(default_factory=lambda: [0.0] * 2)
    blink: float = 0.0
    expression_gain: float = 1.0
    jaw_gain: float = 1.0
    head_gain: float = 1.0
    blink_gain: float = 1.0


@dataclass(frozen=True)
class LiveFace:
    """A face as another program sees it.

    Attributes:
        weights: (52,) in the order of `ARKIT_NAMES`.
        turn: (3,) the head's rotation as axis-angle in radians, about the mean pose; None where it is not sent.
    """

    weights: Float[np.ndarray, " 52"]
    turn: Float[np.ndarray, " 3"] | None = None


class Puppet:
    """Turns moments into poses of one avatar.

    Args:
        gaussians: The avatar.
        motion: A motion whose mean is where the head rests.
    """

    def __init__(self, gaussians: GaussianHead, motion: Motion) -> None:
        # What a face does is worked out on the CPU, a moment at a time.
        self._gaussians, self.head = gaussians, gaussians.head.on("cpu")
        self.adjustments = Adjustments()
        # Where the lips touch is told by landmarks, which a head model may lack.
        known = self.head.arkit_names and self.head.lmk478_faces is not None
        self._face = FaceMap(self.head, gaussians.betas.cpu().numpy()) if known else None
        self.live: LiveFace | None = None
        self.rest(motion)

    def rest(self, motion: Motion) -> None:
        """Takes the mean pose of another motion as the head's rest."""
        self._orient = Rotation.from_rotvec(motion.global_orient).mean()
        self._neck = Rotation.from_rotvec(motion.neck_pose).mean()
        self._transl, self._torso = motion.transl.mean(0), motion.torso.mean(0)

    @property
    def feels(self) -> bool:
        """Whether emotions move this head."""
        return self._face is not None

    @property
    def actions(self) -> tuple[str, ...]:
        """The ARKit actions that move this head."""
        moved = {*self.head.arkit_names, *JOINT_ACTIONS}
        return tuple(name for name in ARKIT_NAMES if name in moved or name.startswith("eyeLook"))

    def pose(self, moment: Motion) -> Pose:
        """The pose of one moment with all that is adjusted; a live face replaces the moment's own."""
        return self._gaussians.poses(self.adjusted(moment))[0]

    def adjusted(self, moment: Motion) -> Motion:
        """One moment with gains and sliders applied."""
        a, live = self.adjustments, self.live
        added = arkit_to_motion_parts(np.array([[a.weights.get(name, 0.0) for name in ARKIT_NAMES]]), self.head)
        if live is None:
            expression, jaw = a.expression_gain * moment.expression, a.jaw_gain * moment.jaw_pose
            left, right, lids = moment.leye_pose, moment.reye_pose, a.blink_gain * moment.eyelids
            orient, neck = (Rotation.from_rotvec(getattr(moment, name)[0]) for name in ("global_orient", "neck_pose"))
            transl, torso = moment.transl, moment.torso
        else:
            face = arkit_to_motion_parts(live.weights[None], self.head)
            expression, jaw = a.expression_gain * face.expression, a.jaw_gain * face.jaw_pose
            left, right, lids = face.leye_pose, face.reye_pose, a.blink_gain * face.eyelids
            orient = self._orient
            neck = self._neck if live.turn is None else self._neck * Rotation.from_rotvec(live.turn)
            transl, torso = self._transl[None], self._torso[None]
        expression = self._emotional(replace(moment, expression=expression, jaw_pose=jaw, eyelids=lids))
        pitch, yaw, roll = np.radians(a.neck)
        neck = _scaled(self._neck, neck, a.head_gain) * Rotation.from_euler("yxz", [yaw, -pitch, -roll])
        gaze = np.radians([[-a.gaze[0], a.gaze[1], 0.0]])
        opened = np.radians([[a.jaw[0], a.jaw[1], 0.0]])
        return replace(
            moment,
            expression=(expression + added.expression).astype(np.float32),
            jaw_pose=(jaw + added.jaw_pose + opened).astype(np.float32),
            leye_pose=(left + added.leye_pose + gaze).astype(np.float32),
            reye_pose=(right + added.reye_pose + gaze).astype(np.float32),
            eyelids=(lids + added.eyelids + a.blink).clip(0, 1).astype(np.float32),
            global_orient=_scaled(self._orient, orient, a.head_gain).as_rotvec()[None].astype(np.float32),
            neck_pose=neck.as_rotvec()[None].astype(np.float32),
            transl=(self._transl + a.head_gain * (transl - self._transl)).astype(np.float32),
            torso=(self._torso + a.head_gain * (torso - self._torso)).astype(np.float32),
        )

    def _emotional(self, moment: Motion) -> Float[np.ndarray, "1 E"]:
        """The expression of one moment with emotions laid over it."""
        if self._face is None:
            return moment.expression
        strengths = {name: np.array([value]) for name, value in self.adjustments.emotions.items()}
        expression = emotional_expression(moment, self._face, strengths)
        return moment.expression if expression is None else expression


def _scaled(rest: Rotation, turned: Rotation, gain: float) -> Rotation:
    """A rotation whose distance from rest is multiplied."""
    return rest * Rotation.from_rotvec(gain * (rest.inv() * turned).as_rotvec())
