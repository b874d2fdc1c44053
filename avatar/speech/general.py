"""A mouth for whoever was never heard: what the prior says of any voice, in the range that a head or a take allows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.errors import FormatError
from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.heads.subject import subject_head
from avatar.motion import ROTATIONS
from avatar.speech._regressor import FeatureStatistics
from avatar.speech._space import RANGE_PERCENTILES, mouth_of
from avatar.speech.feature_kinds import at_hand
from avatar.speech.life_model import LifeModel
from avatar.speech.model import SpeechModel
from avatar.speech.mouth import mouth_map
from avatar.speech.prior import load_prior
from avatar.speech.rest import CLOSED_SHARE, PARTED, closed_mouth
from avatar.speech.speaker import STATED, Speaker, require_format
from avatar.speech.visemes import viseme_weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from avatar.heads import Head
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion
    from avatar.speech.prior import SpeechPrior

FORMAT = 1
KIND = "general"
# The mouth of a take takes part in its widest opening down to this share of the general one: who hardly opened it in a
# silent clip did not speak there.
LEAST_GAIN = 0.6
# The prior, like every regression, seldom says a vowel wider than the half-open ones: these are its usual limit.
CLOSED, WIDE = viseme_weights("closed"), viseme_weights("half_open")
GENERAL_NOTE = "This avatar has no speech model of its own, so the general one speaks."


@dataclass(frozen=True)
class GeneralSpeech(Speaker):
    """The general speech model on one head.

    Its rows are ARKit coefficients: of these the prior knows the mouth's.

    Attributes:
        matrix: (52, E + 3) expression and jaw per coefficient.
        parting: (52,) metres of inner-lip gap per coefficient.
        mouth: (E + 3,) expression and jaw of the closed mouth.
        gain: (1,) how far the subject moves the mouth, as a part of the general measure.
        widest: (1,) largest gap of the lips beyond rest, metres.
    """

    matrix: Float[np.ndarray, "52 D"]
    parting: Float[np.ndarray, " 52"]
    mouth: Float[np.ndarray, " D"]
    gain: Float[np.ndarray, " 1"]
    widest: Float[np.ndarray, " 1"]

    def ready(self) -> GeneralSpeech:
        """The model on features that can be had here: both priors mean the same mouth."""
        return replace(self, feature_model=at_hand(self.feature_model))

    @property
    def feature_width(self) -> int:
        """Channels of the features it reads."""
        return len(self._prior.statistics.mean)

    @property
    def resting(self) -> Float[np.ndarray, " 52"]:
        """No coefficient."""
        return np.zeros(len(ARKIT_NAMES))

    @property
    def _prior(self) -> SpeechPrior:
        prior = load_prior(self.feature_model)
        if prior is None:
            raise FormatError(
                "The general speech model cannot be read",
                expected="features that a general model was learned on",
                found=self.feature_model,
                fix="update this software",
            )
        return prior

    def rows(
        self, values: Float[np.ndarray, "N C"], time: Float[np.ndarray, " T"], opening: Float[np.ndarray, "M C"]
    ) -> Float[np.ndarray, "T 52"]:
        """Coefficients at ``time`` seconds of a feature track; the lips close where the prior hears p, b or m."""
        prior = self._prior
        read = prior(values, statistics=FeatureStatistics.of(opening, prior=prior.statistics))
        track = self.closed(read.weights, read.closed)
        moments = np.arange(len(track)) / self.feature_rate
        return np.stack([np.interp(time, moments, column) for column in track.T], axis=1)

    def closed(self, rows: Float[np.ndarray, "T 52"], share: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T 52"]:
        """Coefficients that go over to those of pressed lips by ``share``, 0 to 1."""
        return rows + share[:, None] * (CLOSED - rows)

    def decode(self, rows: Float[np.ndarray, "T 52"]) -> Float[np.ndarray, "T D"]:
        """(T, E + 3) expression and jaw of coefficients, opening no further than the take or the head allows."""
        moved = self.gain * rows.clip(0, 1)
        parted = moved @ self.parting
        allowed = np.minimum(1, self.widest / np.maximum(parted, 1e-9))
        return self.mouth + (moved * allowed[:, None]) @ self.matrix

    def settings(self) -> dict[str, Any]:
        """What is not a tensor, as plain values for JSON."""
        return {"format": FORMAT, "kind": KIND} | {name: getattr(self, name) for name in STATED}

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything else as a flat dict of float32 tensors."""
        import torch

        return {name: torch.tensor(np.asarray(getattr(self, name)), dtype=torch.float32) for name in _arrays()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], settings: dict[str, Any]) -> GeneralSpeech:
        """The model of `to_tensors` and `settings`; raises FormatError when something is missing."""
        require_format(settings, FORMAT)
        try:
            return cls(
                **{name: tensors[name].double().numpy() for name in _arrays()},
                **{name: settings[name] for name in STATED},
            )
        except KeyError as error:
            raise FormatError(
                "The speech model cannot be read", expected="all its tensors", found=str(error)
            ) from error


def _arrays() -> list[str]:
    """Names of the fields that are tensors."""
    return [each.name for each in fields(GeneralSpeech) if each.name not in STATED]


def general_speech(
    head: Head, *, betas: Float[np.ndarray, " S"], life: LifeModel, feature_model: str | None = None
) -> GeneralSpeech:
    """The general model on a head of which no take is known: what the head allows is its range.

    A head without ARKit actions opens and closes its jaw alone.

    Args:
        head: The head model.
        betas: (S,) identity.
        life: How the subject holds the head; without one, a head at rest.
        feature_model: What the prior shall read; the best there is when None.
    """
    import torch

    prior = load_prior(feature_model)
    assert prior is not None
    subject = head.with_identity(torch.as_tensor(betas, dtype=torch.float32, device=head.device))
    own = mouth_map(head, betas=betas)
    parts = arkit_to_motion_parts(np.eye(len(ARKIT_NAMES)), head)
    matrix = np.column_stack([parts.expression @ own.speech_part.T, parts.jaw_pose]).astype(np.float64)
    parting = own.opening(matrix[:, :-3], matrix[:, -3:]) - own.gap_base
    pose = np.zeros((6, 3))
    pose[[0, 1, 3, 4]], pose[5] = life.mean, life.transl
    return GeneralSpeech(
        matrix=matrix,
        parting=parting,
        mouth=closed_mouth(np.zeros(matrix.shape[1]), subject=subject, upper=life.brow_mean),
        gain=np.ones(1),
        widest=np.array([float(parting[ARKIT_NAMES.index("jawOpen")])]),
        pose=pose,
        eyelids=life.eyelids,
        upper=life.brow_mean,
        betas=np.asarray(betas, np.float64),
        head_id=head.id,
        head_hash=head.hash,
        feature_model=prior.feature_model,
        feature_rate=prior.feature_rate,
    )


def general_speech_of(
    motion: Motion,
    *,
    head: Head,
    life: LifeModel,
    used: Bool[np.ndarray, " T"] | None = None,
    feature_model: str | None = None,
) -> GeneralSpeech:
    """The general model in the range of a take that was not heard: its closed mouth and its widest opening.

    Args:
        motion: The take's tracked motion.
        head: Its head model.
        life: What was learned of it beside speech.
        used: (T,) which moments were tracked well; all when left out.
        feature_model: What the prior shall read; the best there is when None.
    """
    kept = motion if used is None else motion[np.asarray(used, bool)]
    model = general_speech(head, betas=motion.betas, life=life, feature_model=feature_model)
    own = mouth_map(head, betas=motion.betas, jaw=kept.jaw_pose.mean(axis=0))
    values, opening = mouth_of(kept, own)
    rest, mouth = own.gap_base, np.zeros_like(model.mouth)
    closed = opening <= np.percentile(opening, CLOSED_SHARE)
    if opening[closed].mean() <= own.gap_base + PARTED:
        rest, mouth = float(opening[closed].mean()), values[closed].mean(axis=0)
    model = ranged(model, float(np.percentile(opening, RANGE_PERCENTILES[1])) - rest)
    means = [Rotation.from_rotvec(getattr(kept, name)).mean().as_rotvec() for name in ROTATIONS]
    return replace(
        model,
        mouth=closed_mouth(mouth, subject=subject_head(head, motion), upper=life.brow_mean),
        pose=np.stack([*means, kept.transl.mean(axis=0)]).astype(np.float64),
    )


def ranged(model: GeneralSpeech, seen: float) -> GeneralSpeech:
    """The model that opens the mouth no further than a person was seen to, metres beyond rest, within reason."""
    usual = float(WIDE @ model.parting)
    gain = float(np.clip(seen / max(usual, 1e-9), LEAST_GAIN, 1.0))
    return replace(model, gain=np.array([gain]), widest=np.array([max(seen, LEAST_GAIN * usual)]))


def speaks_generally(stored: StoredAvatar) -> bool:
    """Whether an avatar has no speech model of its own."""
    return stored.info.speech is None or stored.info.speech.get("kind") == KIND


def speaker_of(stored: StoredAvatar) -> Speaker:
    """What speaks for an avatar: its own model, the general one in its take's range, or in that of its head."""
    settings = stored.info.speech
    if settings is not None and not speaks_generally(stored):
        return SpeechModel.from_tensors(stored.speech, settings)
    if settings is None:
        life = LifeModel.from_tensors(stored.life)
        return general_speech(stored.head, betas=stored.gaussians.betas.cpu().numpy(), life=life)
    return GeneralSpeech.from_tensors(stored.speech, settings)
