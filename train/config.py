"""Configuration of training, with its presets."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import msgspec

from avatar.errors import InputError
from avatar.fields.sampling import Sampling
from avatar.train.dataset import Outline

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class TrainConfig(Sampling):
    """How an avatar is fitted to a take; the seed is also that of the order of frames and of the random backgrounds.

    Attributes:
        steps: Optimiser steps, one frame each.
        draft_share: Steps of a draft, over these: the motion is aligned with that avatar before this one is trained,
            and with this one after; 0 for the motion as it was tracked.
        residual_start: Step from which the residuals learn; before it the rig alone explains the frames.
        dssim_weight: Share of D-SSIM in the image loss; the rest is L1.
        even_exposure: Variation of the skin's log intensity up to which a take counts as evenly exposed; above it
            every training frame has its own gain and offset.
        exposure_start: Step from which these are looked for; before it the avatar's colours settle.
        alpha_weight: Weight of the squared error against the mask.
        edge_level: Value of the soft mask where the avatar's outline lies.
        edge_contrast: How much firmer than the soft mask the outline is; 1 leaves it as soft.
        despill: Whether hues of the background that the person does not have are taken out of the outline.
        skip_covered: Whether what the take says is before the face for a while, such as a hand, is not learnt.
        lr_offsets: Learning rate of the positions, metres per step; decays to 2 %.
        lr_log_scales: Learning rate of the log-scales; this and the following decay to 10 %.
        lr_quats: Learning rate of the rotations.
        lr_opacity: Learning rate of the opacity logits.
        lr_colors: Learning rate of the colour logits.
        lr_residuals: Learning rate of the residual components.
        lr_condition: Learning rate of the combinations of the motion's features that drive the residuals; 0 for its
            principal components as they are.
        trained_components: Number of residual components in training, of which `components` are kept; 0 for as many.
        hidden: Units of a net that makes their weights non-linear in training; 0 for none.
        sound_components: Number of residual components that the sound drives, where the take has sound; 0 for none.
        sound_dropout: Share of the steps that see no sound, so that the avatar also moves without.
        rare_share: How many frames of a round are rare ones that come again, over how many come once.
        focus_weight: Weight of the image loss within windows around mouth and eyes, on top of that of the picture.
        focus_contrast: Weight of the difference of local contrast in these windows, within that loss.
        feature_weight: Weight of the distance of deep features in a small patch of the face; 0 for none. Where their
            network is not at hand, training goes on without.
        feature_start: Share of the steps after which it counts; before that the picture is still rough.
        side_weight: Weight of what is seen from the side and should not be (`avatar.train.side_views`), in the steps
            that look from there; 0 for none.
        close_pinholes: Whether small gaps that only views from the side show are closed in the end
            (`avatar.train.pinholes`).
        relocations: How many times the Gaussians that show least are moved to where the error is; see
            `avatar.train.relocation`.
        relocated_share: How many of the head's Gaussians are moved each time at most, as a share.
        checkpoint_every: Steps between checkpoints.
    """

    steps: int = 3000
    draft_share: float = 1 / 3
    residual_start: int = 300
    dssim_weight: float = 0.2
    even_exposure: float = 0.02
    exposure_start: int = 100
    alpha_weight: float = 0.1
    edge_level: float = 0.4
    edge_contrast: float = 4.0
    despill: bool = True
    skip_covered: bool = True
    lr_offsets: float = 4e-5
    lr_log_scales: float = 8e-3
    lr_quats: float = 2e-3
    lr_opacity: float = 2e-2
    lr_colors: float = 1e-2
    lr_residuals: float = 4e-3
    lr_condition: float = 0.0
    trained_components: int = 0
    hidden: int = 0
    sound_components: int = 0
    sound_dropout: float = 0.3
    rare_share: float = 0.0
    focus_weight: float = 0.1
    focus_contrast: float = 2.0
    feature_weight: float = 0.02
    feature_start: float = 0.5
    side_weight: float = 1.5
    close_pinholes: bool = True
    relocations: int = 0
    relocated_share: float = 0.05
    checkpoint_every: int = 500

    @property
    def outline(self) -> Outline:
        """What becomes of the take's masks."""
        return Outline(self.edge_level, self.edge_contrast)

    @property
    def projects(self) -> bool:
        """Whether what is trained is more than the components that are kept can say."""
        return self.lr_condition > 0 and (self.hidden > 0 or self.trained_components > self.components)


PRESETS = {
    # What fits into 3 MB.
    "fast": TrainConfig(
        gaussians=12500, torso_gaussians=2500, components=8, steps=1600, draft_share=0.5, feature_weight=0.0
    ),
    "standard": TrainConfig(),
    "quality": TrainConfig(gaussians=20000, torso_gaussians=4000),
}


def train_config(preset: str, changes: Iterable[str] = ()) -> TrainConfig:
    """A preset with some of its settings changed, each as ``name=value``.

    Raises:
        InputError: A change is none, its name is no setting, or its value is not of that setting's kind.
    """
    settings = msgspec.to_builtins(PRESETS[preset])
    known = ", ".join(field.name for field in fields(TrainConfig))
    for change in changes:
        name, given, value = change.partition("=")
        if not given or name not in settings:
            raise InputError(
                f"--set {change} cannot be used",
                expected=f"NAME=VALUE, with one of the names {known}",
                found=change,
                fix="give a setting as in --set steps=3000",
            )
        settings[name] = value
    try:
        return msgspec.convert(settings, TrainConfig, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(
            "The settings of --set cannot be used",
            expected="values of the settings' kinds: numbers, or true and false",
            found=f"{' '.join(changes)} ({error})",
            fix="docs/fidelity.md has them",
        ) from error
