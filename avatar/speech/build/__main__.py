"""Builds the speech prior: ``python -m avatar.speech.build OUT.npz``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import tyro
from torch.nn import functional as F

from avatar.heads.arkit import ARKIT_NAMES
from avatar.speech._net import SpeechNet
from avatar.speech._regressor import FeatureStatistics
from avatar.speech.build.voices import spoken_sentences
from avatar.speech.features import MODEL
from avatar.speech.prior import SOUNDS, SpeechPrior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avatar.speech.build.voices import SpokenSentence

logger = logging.getLogger(__name__)

STEPS, BATCH, ROWS, RATE = 800, 10, 150, 3e-3
# Noise on the normalised features: no voice to come sounds like those that were learned from.
NOISE = 0.5
# Actions that move less than this over all sentences are left out.
STILL = 0.01
# Weights of the mouth's shape, of its change from row to row, and of the sounds.
SHAPE, CHANGE, SOUND = 10.0, 5.0, 3.0


def main(out: tyro.conf.Positional[Path], /, *, seed: int = 0) -> None:
    """Learns from synthetic voices what any voice says of the mouth; about five minutes.

    Args:
        out: The file to write.
        seed: Seed of everything random.
    """
    torch.set_num_threads(1)
    sentences = list(spoken_sentences(seed=seed))
    rows = sum(len(sentence.features) for sentence in sentences)
    logger.info("%d sentences, %.0f s", len(sentences), rows / 50)
    learn_prior(sentences, seed=seed).save(out)


def learn_prior(sentences: Sequence[SpokenSentence], *, seed: int, steps: int = STEPS) -> SpeechPrior:
    """Fits the net to spoken sentences."""
    everything = FeatureStatistics.of(np.concatenate([sentence.features for sentence in sentences]))
    inputs = _normalised(sentences, everything)
    weights = np.concatenate([sentence.weights for sentence in sentences])
    moved = np.flatnonzero(weights.std(0) > STILL)
    scale = float(weights[:, moved].std())
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
            loss = SHAPE * error.square().mean() + CHANGE * error.diff(dim=1).square().mean()
            loss = loss + SOUND * F.binary_cross_entropy_with_logits(output[..., len(moved) :], y[..., len(moved) :])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 100 == 0:
                logger.info("step %d of %d: %.3f", step, steps, float(loss.detach()))
    actions = tuple(ARKIT_NAMES[column] for column in moved)
    return SpeechPrior(MODEL, everything, actions, scale, net.eval().requires_grad_(False))


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
