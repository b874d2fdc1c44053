"""How a synthetic person moves while talking: head, eyes and lids, from a source of randomness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.arkit import ARKIT_NAMES

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.synthetic.speech import Phone

Generator = np.random.Generator


def head_movement(
    time: Float[np.ndarray, " T"], effort: Float[np.ndarray, " T"], rng: Generator
) -> tuple[Float[np.ndarray, "T 3"], Float[np.ndarray, "T 3"]]:
    """Axis-angle (T, 3) of the neck and of the body: slow turns, with nods where the voice presses."""
    degrees = np.pi / 180
    yaw = 13 * wander(time, 0.16, rng) + 2.5 * wander(time, 0.6, rng)
    pitch = 4.5 * wander(time, 0.19, rng) + 1.0 * wander(time, 0.8, rng) + 3.0 * (effort - effort.mean())
    roll = 4.0 * wander(time, 0.14, rng) + 0.12 * yaw
    body = np.stack([1.2 * wander(time, 0.10, rng), 3.0 * wander(time, 0.09, rng), wander(time, 0.12, rng)], axis=1)
    return np.stack([pitch, yaw, roll], axis=1) * degrees, body * degrees


def eye_movement(
    time: Float[np.ndarray, " T"], turn: Float[np.ndarray, "T 3"], rng: Generator
) -> Float[np.ndarray, "T 2"]:
    """Gaze (T, 2) down and to the left in ARKit's units: mostly at the camera whatever the head does."""
    target = np.zeros((len(time), 2))
    moment = 0.8
    while moment < time[-1]:
        away = rng.normal(0, [0.22, 0.42]) if rng.random() < 0.55 else rng.normal(0, 0.05, 2)
        stay = rng.uniform(0.4, 1.1)
        target[(time >= moment) & (time < moment + stay)] = away
        moment += stay + rng.uniform(0.4, 1.4)
    held = -0.75 * turn[:, :2] / np.array([0.18, 0.25])
    smoothed = np.stack([np.convolve(np.pad(axis, 1, mode="edge"), [0.2, 0.6, 0.2], "valid") for axis in target.T], 1)
    return np.clip(held + smoothed, -0.9, 0.9)


def blinks(time: Float[np.ndarray, " T"], rng: Generator) -> Float[np.ndarray, " T"]:
    """Closure (T,) of the lids: shut within 80 ms, open again after 160."""
    closed, moment = np.zeros(len(time)), 0.9
    while moment < time[-1]:
        since = time - moment
        closed = np.maximum(closed, np.clip(np.minimum((since + 0.09) / 0.07, (0.19 - since) / 0.15), 0, 1))
        moment += rng.uniform(1.4, 3.6)
    return closed


def emphasis(phones: tuple[Phone, ...], time: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """How much the voice presses (T,), 0 to 1."""
    effort = np.zeros(len(time))
    for phone in phones:
        if phone.stress > 1.1 and phone.symbol:
            effort = np.maximum(effort, np.exp(-(((time - phone.start) / 0.14) ** 2)))
    return effort


def wander(time: Float[np.ndarray, " T"], rate: float, rng: Generator) -> Float[np.ndarray, " T"]:
    """A smooth, irregular curve (T,) within -1 to 1 that turns about `rate` times a second."""
    total = np.zeros(len(time))
    for factor, strength in ((1.0, 0.62), (1.93, 0.26), (3.1, 0.12)):
        total += strength * np.sin(2 * np.pi * (rate * factor * time + rng.random()))
    return total


def put_action(
    weights: Float[np.ndarray, "T 52"], name: str, value: Float[np.ndarray, " T"], *, add: bool = False
) -> None:
    """Writes one action, both sides of it when `name` has none."""
    for full in (name, f"{name}Left", f"{name}Right"):
        if full in ARKIT_NAMES:
            column = ARKIT_NAMES.index(full)
            weights[:, column] = value + (weights[:, column] if add else 0)
