"""Builds the speech prior: ``python -m avatar.speech.build OUT.npz``."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import tyro
from scipy.optimize import isotonic_regression
from torch.nn import functional as F

from avatar.heads import load_head
from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.speech._net import SpeechNet
from avatar.speech._regressor import FeatureStatistics
from avatar.speech.build.voices import spoken_sentences
from avatar.speech.feature_kinds import feature_kind
from avatar.speech.features import MODEL
from avatar.speech.mouth import mouth_map
from avatar.speech.prior import SOUNDS, SpeechPrior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from avatar.speech.build.voices import SpokenSentence

logger = logging.getLogger(__name__)

STEPS, BATCH, ROWS, RATE = 800, 10, 150, 3e-3
# Noise on the normalised features: no voice to come sounds like those that were learned from.
NOISE = 0.5
# Actions that move less than this over all sentences are left out.
STILL = 0.01
# Weights of the mouth's shape, of its change from row to row, of the sounds, and of the gap between the lips.
SHAPE, CHANGE, SOUND, GAP = 10.0, 5.0, 3.0, 10.0
# Levels of the net's word on closed lips whose truth is counted.
GROUPS = 24


def main(out: tyro.conf.Positional[Path], /, *, features: str = "whisper", seed: int = 0) -> None:
    """Learns from synthetic voices what any voice says of the mouth; about five minutes.

    Args:
        out: The file to write.
        features: What it shall read: `whisper` or `log-mel`.
        seed: Seed of everything random.
    """
    torch.set_num_threads(1)
    sentences = list(spoken_sentences(seed=seed, kind=feature_kind(features)))
    rows = sum(len(sentence.features) for sentence in sentences)
    logger.info("%d sentences, %.0f s", len(sentences), rows / 50)
    prior = learn_prior(sentences, seed=seed, kind=feature_kind(features))
    # Other voices' noise, rooms, levels and speeds than it has learned from.
    anew = list(spoken_sentences(seed=seed + 1, kind=feature_kind(features)))
    replace(prior, certainty=certainty_of(prior, anew)).save(out)


def learn_prior(
    sentences: Sequence[SpokenSentence], *, seed: int, steps: int = STEPS, kind: str = MODEL
) -> SpeechPrior:
    """Fits the net to spoken sentences, their features of some kind."""
    everything = FeatureStatistics.of(np.concatenate([sentence.features for sentence in sentences]))
    inputs = _normalised(sentences, everything)
    weights = np.concatenate([sentence.weights for sentence in sentences])
    moved = np.flatnonzero(weights.std(0) > STILL)
    scale = float(weights[:, moved].std())
    parting = lip_parting()
    gaps = torch.as_tensor(parting[moved] * scale / (weights @ parting).std(), dtype=torch.float32)
    targets = [
        np.column_stack([sentence.weights[:, moved] / scale, sentence.sounds]).astype(np.float32)
        for sentence in sentences
    ]
    long = [index for index, rows in enumerate(inputs) if len(rows) >= ROWS]
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SpeechNet(inputs[0].shape[1], len(moved) + len(SOUNDS)).train()
        optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        for step in range(steps):
            places = [(i, int(rng.integers(len(inputs[i]) - ROWS + 1))) for i in rng.choice(long, BATCH)]
            x, y = (
                torch.from_numpy(np.stack([each[i][start : start + ROWS] for i, start in places]))
                for each in (inputs, targets)
            )
            output = net(x + NOISE * torch.randn_like(x))
            error = output[..., : len(moved)] - y[..., : len(moved)]
            gap = error @ gaps
            loss = SHAPE * error.square().mean() + CHANGE * error.diff(dim=1).square().mean()
            loss = loss + GAP * (gap.square().mean() + 0.5 * gap.diff(dim=1).square().mean())
            loss = loss + SOUND * F.binary_cross_entropy_with_logits(output[..., len(moved) :], y[..., len(moved) :])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 100 == 0:
                logger.info("step %d of %d: %.3f", step, steps, float(loss.detach()))
    actions = tuple(ARKIT_NAMES[column] for column in moved)
    return SpeechPrior(kind, everything, actions, scale, net.eval().requires_grad_(False))


def certainty_of(prior: SpeechPrior, sentences: Sequence[SpokenSentence]) -> Float[np.ndarray, "2 Q"]:
    """What a net says of closed lips, and how often the lips of these sentences are closed then.

    By isotonic regression (Zadrozny and Elkan 2002, doi:10.1145/775047.775151).
    """
    plain = replace(prior, certainty=np.array([[0.0, 1.0], [0.0, 1.0]]))
    heard, closed = [], []
    for voice in sorted({sentence.voice for sentence in sentences}):
        spoken = [sentence for sentence in sentences if sentence.voice == voice]
        statistics = FeatureStatistics.of(
            np.concatenate([sentence.features for sentence in spoken]), prior=prior.statistics
        )
        heard += [plain(sentence.features, statistics=statistics).closed for sentence in spoken]
        closed += [sentence.sounds[:, SOUNDS.index("closed")] > 0 for sentence in spoken]
    said, truth = np.concatenate(heard), np.concatenate(closed)
    order = np.argsort(said)
    # Of equal numbers of closed moments each, since most of all are far from closed.
    counts = np.linspace(0, truth.sum(), GROUPS + 1)[1:-1]
    groups = np.array_split(order, np.searchsorted(np.cumsum(truth[order]), counts))
    levels = np.array([said[group].mean() for group in groups])
    share = isotonic_regression([truth[group].mean() for group in groups], weights=[len(g) for g in groups]).x
    return np.stack([np.concatenate([[0.0], levels, [1.0]]), np.concatenate([[0.0], share, share[-1:]])])


def lip_parting() -> Float[np.ndarray, " 52"]:
    """Metres by which each ARKit action parts the inner lips of the open head."""
    head = load_head()
    mouth = mouth_map(head)
    parts = arkit_to_motion_parts(np.eye(len(ARKIT_NAMES)), head)
    return mouth.opening(parts.expression @ mouth.speech_part.T, parts.jaw_pose) - mouth.gap_base


def _normalised(sentences: Sequence[SpokenSentence], everything: FeatureStatistics) -> list[np.ndarray]:
    """Each sentence's features by its voice's own statistics, as a recording's are."""
    voices = {sentence.voice for sentence in sentences}
    own = {
        voice: FeatureStatistics.of(
            np.concatenate([sentence.features for sentence in sentences if sentence.voice == voice]), prior=everything
        )
        for voice in voices
    }
    return [own[sentence.voice].normalise(sentence.features) for sentence in sentences]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tyro.cli(main)
