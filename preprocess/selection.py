"""Which part of a recording becomes the take: the longest shot of the main face, or all its shots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import InputError
from avatar.preprocess.main_face import SAME_SHAPE, Casting, Person, shape_distance
from avatar.preprocess.shots import Shot

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# A shot that shows the face in fewer frames is not worth its cut.
_LEAST_FRAMES = 10
# Seconds between the shots of a take, so that nobody takes a cut for a movement.
_PAUSE = 1.0
_MOST_RANGES = 4


@dataclass(frozen=True)
class Selection:
    """The chosen shots with the person followed in each.

    Attributes:
        shots: In order of time.
        persons: One for each shot.
        notes: What a user should know of the choice, in sentences.
        rows: Plain values about every shot of the recording, for the take.
    """

    shots: tuple[Shot, ...]
    persons: tuple[Person, ...]
    notes: tuple[str, ...]
    rows: list[dict[str, Any]]

    @property
    def frames(self) -> Int[np.ndarray, " R"]:
        """Numbers of the recording's frames that are the rows of the take."""
        return np.concatenate([np.arange(*shot) for shot in self.shots])

    def times(self, source: Float[np.ndarray, " T"]) -> Float[np.ndarray, " R"]:
        """Seconds of the take's rows: those of the recording, from 0 on, with a pause between shots that were apart."""
        return np.concatenate([source[slice(*shot)] - shift for shot, shift in self._clock(source)])

    def sound(
        self, samples: Float[np.ndarray, " N"], source: Float[np.ndarray, " T"], *, rate: int
    ) -> Float[np.ndarray, " M"]:
        """The recording's sound on the take's clock, silent between the shots."""
        result = np.zeros(0, samples.dtype)
        for shot, shift in self._clock(source):
            stop = len(samples) if shot.stop == len(source) else round(source[shot.stop] * rate)
            piece = samples[round(source[shot.start] * rate) : stop]
            start = round((source[shot.start] - shift) * rate)
            result = np.concatenate([result[:start], np.zeros(max(0, start - len(result)), samples.dtype), piece])
        return result

    def _clock(self, source: Float[np.ndarray, " T"]) -> list[tuple[Shot, float]]:
        """Each shot, and what to take from the recording's clock in it."""
        result = [(self.shots[0], float(source[self.shots[0].start]))]
        for shot in self.shots[1:]:
            before, shift = result[-1]
            result.append((shot, float(source[shot.start] - (source[before.stop - 1] - shift) - _PAUSE)))
        return result


def select_shots(
    name: str, castings: Sequence[Casting], times: Float[np.ndarray, " T"], *, all_shots: bool, shrink: float
) -> Selection:
    """Chooses the shots of a take.

    Without `all_shots` that is the one where the main face was seen longest. With it, in every shot the face that is
    most like that one's is followed, whoever else is in it.

    Args:
        name: Name of the recording, for messages.
        castings: Every shot, in order.
        times: (T,) seconds of the recording's frames.
        all_shots: Whether to take all shots with a main face.
        shrink: Size of the searched pictures in relation to the recording's, for messages.

    Raises:
        InputError: Two faces are equally prominent wherever one is seen, or none is seen.
    """
    clear = [casting for casting in castings if casting.main]
    longest = max(clear, key=_main_frames, default=None)
    rivals = max((c for c in castings if c.rival), key=lambda c: c.persons[0].frames, default=None)
    enough = longest is not None and _main_frames(longest) >= _LEAST_FRAMES
    if rivals is not None and not enough:
        raise _equal_faces(name, rivals, times, shrink=shrink)
    if longest is None:
        longest = Casting(Shot(0, len(times)), ())
        return Selection((longest.shot,), (Person((), np.zeros((0, 3)), 0.0),), (), [])
    chosen = {longest.shot: longest.persons[0]}
    if all_shots:
        for casting in castings:
            person = _like(longest.persons[0], casting)
            if person is not None and person.frames >= _LEAST_FRAMES:
                chosen[casting.shot] = person
    rows = [_row(casting, chosen.get(casting.shot), longest.persons[0], times) for casting in castings]
    shots = tuple(sorted(chosen))
    persons = tuple(chosen[shot] for shot in shots)
    return Selection(shots, persons, tuple(_notes(name, longest.shot, rows, all_shots=all_shots)), rows)


def _main_frames(casting: Casting) -> int:
    return casting.main.frames if casting.main else 0


def _like(person: Person, casting: Casting) -> Person | None:
    """Whom to follow in a shot: who has that person's face; else the main person there."""
    if not casting.persons:
        return None
    nearest = min(casting.persons, key=lambda other: shape_distance(other.shape, person.shape))
    return nearest if shape_distance(nearest.shape, person.shape) < SAME_SHAPE else casting.main


def _row(casting: Casting, used: Person | None, main: Person, times: Float[np.ndarray, " T"]) -> dict[str, Any]:
    start, stop = casting.shot
    person = used or casting.main
    row: dict[str, Any] = {
        "frames": [int(start), int(stop)],
        "seconds": [round(float(times[start]), 3), round(float(times[stop - 1]), 3)],
        "face_frames": person.frames if person else 0,
        "faces": len(casting.persons),
        "used": used is not None,
    }
    if person is not None:
        row["shape_distance"] = round(shape_distance(person.shape, main.shape), 4)
    return row


def _notes(name: str, longest: Shot, rows: list[dict[str, Any]], *, all_shots: bool) -> list[str]:
    if len(rows) < 2:
        return []
    used = [row for row in rows if row["used"]]
    if not all_shots:
        row = next(row for row in rows if row["frames"] == list(longest))
        return [
            f"{name} was cut into {len(rows)} shots. The one where the main face is seen longest is used, "
            f"{_span(row)}; --all-shots uses all."
        ]
    notes = [f"{name} was cut into {len(rows)} shots; {len(used)} of them show the main face and are used."]
    strangers = [row for row in used if row["shape_distance"] >= SAME_SHAPE]
    if strangers:
        spans = ", ".join(_span(row) for row in strangers)
        notes.append(
            f"Another person seems to be shown in {spans}: an avatar of two persons looks like neither. Cut this out, "
            "or leave out --all-shots."
        )
    return notes


def _span(row: dict[str, Any]) -> str:
    return f"frames {row['frames'][0]} to {row['frames'][1] - 1} ({row['seconds'][0]:.1f} to {row['seconds'][1]:.1f} s)"


def _equal_faces(name: str, casting: Casting, times: Float[np.ndarray, " T"], *, shrink: float) -> InputError:
    pair = sorted(casting.persons[:2], key=lambda person: person.middle)
    seen = [person.seen(len(times)) for person in pair]
    sizes = " and ".join(f"{person.height / shrink:.0f}" for person in pair)
    both = seen[0] & seen[1]
    where = (
        f"both in {_ranges(both, times)}"
        if both.any()
        else f"one in {_ranges(seen[0], times)}, another in {_ranges(seen[1], times)}"
    )
    return InputError(
        f"{name} shows two faces and none is the main one",
        expected="one face that is larger, nearer to the middle or longer in the picture than any other",
        found=f"two, {sizes} pixels high: {where}",
        fix="cut or crop the recording so that one person is left, or record one person alone",
    )


def _ranges(seen: Bool[np.ndarray, " T"], times: Float[np.ndarray, " T"]) -> str:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]]).astype(int))).reshape(-1, 2)
    texts = [f"{start} to {stop - 1} ({times[start]:.1f} to {times[stop - 1]:.1f} s)" for start, stop in edges]
    more = f" and {len(texts) - _MOST_RANGES} more" if len(texts) > _MOST_RANGES else ""
    return "frames " + ", ".join(texts[:_MOST_RANGES]) + more
