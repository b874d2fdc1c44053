"""Endless motion from a short track: a walk through the track with cross-fades where pose and velocity meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

# Length of a cross-fade and of the stretches between two, seconds.
FADE = 1.5
STRETCH = (1.5, 4.0)
# A track shorter than this gives too few places to go to.
SHORTEST = 6.0
# How much worse than the best a place may be and still be taken now and then, in squared standard deviations.
TOLERANCE = 0.15
# What one recent visit counts in the same unit.
VISIT = 1.0


def wander(
    track: Float[np.ndarray, "N D"], rate: float, *, count: int, matched: int, rng: np.random.Generator
) -> Float[np.ndarray, "count D"]:
    """Walks through a track for as long as wanted (motion graphs, Kovar et al. 2002).

    After a stretch of the track it cross-fades for a second and a half to another place. Places are compared by the
    pose at both ends of the fade and the velocity in its middle, in standard deviations of the track, and places seen
    lately count as further away, so that no loop shows.

    Args:
        track: (N, D) smooth track.
        rate: Its rows a second.
        count: Rows wanted, at the same rate.
        matched: How many of the first columns decide where fades lead.
        rng: Source of the choices.
    """
    length, fade = len(track), round(FADE * rate)
    if length < round(SHORTEST * rate):
        return sway(track.mean(axis=0), track.std(axis=0), rate, count=count, rng=rng)
    pose = track[:, :matched]
    scale = pose.std(axis=0) + 1e-9
    velocity = np.gradient(pose, axis=0) * rate
    pace = velocity.std(axis=0) + 1e-9
    # What has to match: pose at the start and the end of the fade, velocity in its middle.
    starts = length - fade
    signature = np.concatenate(
        [pose[:starts] / scale, pose[fade:] / scale, velocity[fade // 2 : fade // 2 + starts] / pace], axis=1
    )
    visits = np.zeros(starts)
    weight = smootherstep(np.linspace(0, 1, fade + 2)[1:-1])[:, None]
    result = np.empty((count, track.shape[1]))
    place, filled = int(rng.integers(starts)), 0
    while filled < count:
        # Every way to leave within the next stretch, and every place to go to.
        earliest, latest = (min(place + round(seconds * rate), starts - 1) for seconds in STRETCH)
        leaves = np.arange(earliest, latest + 1, 2)
        distance = ((signature[leaves, None] - signature) ** 2).mean(axis=2) + VISIT * visits
        # Not to where it already is, and not to where the track ends.
        places = np.arange(starts)
        distance[np.abs(places - leaves[:, None]) < fade] = np.inf
        distance[:, max(starts - fade, 1) :] = np.inf
        if np.isfinite(distance).any():
            chance = np.exp(-(distance - distance.min()) / TOLERANCE)
            choice = int(rng.choice(chance.size, p=chance.ravel() / chance.sum()))
            leaving, target = int(leaves[choice // starts]), choice % starts
        else:
            leaving, target = int(latest), int(rng.integers(max(starts // 2, 1)))
        take = min(leaving - place, count - filled)
        result[filled : filled + take] = track[place : place + take]
        filled += take
        visits[place:leaving] += 1
        if filled >= count:
            break
        mixed = (1 - weight) * track[leaving : leaving + fade] + weight * track[target : target + fade]
        take = min(fade, count - filled)
        result[filled : filled + take] = mixed[:take]
        filled += take
        visits *= 0.9
        place = min(target + fade, starts)
    return result


def sway(
    mean: Float[np.ndarray, " D"],
    deviation: Float[np.ndarray, " D"],
    rate: float,
    *,
    count: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "count D"]:
    """Slow noise around a mean, half as large as ``deviation`` and within twice that: below about 0.5 Hz."""
    sigma = 0.35 * rate
    reach = int(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    noise = rng.standard_normal((count + 2 * reach, len(mean)))
    slow = np.stack([np.convolve(column, kernel, mode="valid") for column in noise.T], axis=1)[:count]
    return mean + 0.5 * deviation * 2 * np.tanh(slow / 2)


def smootherstep(x: np.ndarray) -> np.ndarray:
    """From 0 to 1 with zero slope and curvature at both ends (Perlin 2002)."""
    x = np.clip(x, 0, 1)
    return x**3 * (x * (6 * x - 15) + 10)
