"""Motion: the one currency for driving a head, whatever its source (tracker, speech, file)."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from avatar.errors import FormatError, InputError

if TYPE_CHECKING:
    from jaxtyping import Float

# Over so many seconds a motion that goes back and forth slows down before it turns around.
TURN_SECONDS = 0.5
ROTATIONS = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")
PER_FRAME = ("expression", *ROTATIONS, "eyelids", "transl", "torso")
OPTIONAL = ("torso", "vertex_offsets", "sound", "sound_id")


def bounced(moments: Float[np.ndarray, " N"], length: float) -> Float[np.ndarray, " N"]:
    """Where something of a length (seconds, above 0) is at rising moments from 0 on, as it goes back and forth.

    Where it turns around it is slow for `TURN_SECONDS`; moments that do not reach beyond its end stay as they are.
    """
    place = length - np.abs(moments % (2 * length) - length)
    if not len(moments) or moments[-1] <= length:
        return place
    half = min(TURN_SECONDS, length) / 2
    gap = length - place
    place = np.where(gap < half, length - (gap**2 + half**2) / (2 * half), place)
    turning = (place < half) & (moments > length)
    return np.where(turning, (place**2 + half**2) / (2 * half), place)


@dataclass(frozen=True)
class Motion:
    """A head's motion over T moments.

    Attributes:
        time: (T,) seconds, strictly increasing, any spacing.
        betas: (S,) identity coefficients, shared by all moments.
        expression: (T, E) expression coefficients of the head model's basis.
        global_orient: (T, 3) axis-angle of the root, radians; so are the four joints below.
        neck_pose: (T, 3).
        jaw_pose: (T, 3).
        leye_pose: (T, 3).
        reye_pose: (T, 3).
        eyelids: (T, 2) closure of the left and the right lid, 0 open to 1 closed.
        transl: (T, 3) metres.
        head_id: Name of the head model the coefficients belong to.
        head_hash: Its content hash.
        torso: (T, 3) metres that the shoulders are away from where the root carries them; zero where it is left out.
        vertex_offsets: (V, 3) metres in the neutral pose: what of the subject's shape the identity coefficients do not
            reach, hair included. Like them it is the subject's own and drives no other head. None for plain identities.
        sound: (T, D) components of the sound at each moment, for an avatar whose residuals listen; no columns where
            there is no sound or nobody listens.
        sound_id: Whose components they are (`SpeechCondition.id`): any other avatar ignores them.
    """

    time: Float[np.ndarray, " T"]
    betas: Float[np.ndarray, " S"]
    expression: Float[np.ndarray, "T E"]
    global_orient: Float[np.ndarray, "T 3"]
    neck_pose: Float[np.ndarray, "T 3"]
    jaw_pose: Float[np.ndarray, "T 3"]
    leye_pose: Float[np.ndarray, "T 3"]
    reye_pose: Float[np.ndarray, "T 3"]
    eyelids: Float[np.ndarray, "T 2"]
    transl: Float[np.ndarray, "T 3"]
    head_id: str
    head_hash: str
    torso: Float[np.ndarray, "T 3"] = None  # type: ignore[assignment]  # zeros of the right length by default
    vertex_offsets: Float[np.ndarray, "V 3"] | None = None
    sound: Float[np.ndarray, "T D"] = None  # type: ignore[assignment]  # no columns by default
    sound_id: str = ""

    def __post_init__(self) -> None:
        count = len(self.time)
        if self.torso is None:
            object.__setattr__(self, "torso", np.zeros((count, 3), np.float32))
        if self.sound is None or self.sound.size == 0:
            object.__setattr__(self, "sound", np.zeros((count, 0), np.float32))
        for name in (*PER_FRAME, "sound"):
            value = getattr(self, name)
            if value.ndim != 2 or len(value) != count or not np.isfinite(value).all():
                raise InputError(
                    f"The motion's {name} cannot be used",
                    expected=f"a finite array of {count} rows",
                    found=f"shape {value.shape}" + ("" if np.isfinite(value).all() else " with NaN or inf"),
                )
        offsets = self.vertex_offsets
        if offsets is not None and (offsets.ndim != 2 or offsets.shape[1] != 3 or not np.isfinite(offsets).all()):
            raise InputError(
                "The motion's vertex_offsets cannot be used",
                expected="a finite array of shape (V, 3)",
                found=f"shape {offsets.shape}" + ("" if np.isfinite(offsets).all() else " with NaN or inf"),
            )
        if count and not (np.diff(self.time) > 0).all():
            raise InputError("The motion's times cannot be used", expected="strictly increasing seconds")

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, index: slice | np.ndarray) -> Motion:
        """The moments that `index` selects; it must keep the order of time."""
        rows = {name: getattr(self, name)[index] for name in (*PER_FRAME, "sound")}
        return replace(self, time=self.time[index], **rows)

    @property
    def pose(self) -> Float[np.ndarray, "T 5 3"]:
        """The five joints' axis-angles stacked: root, neck, jaw, left eye, right eye."""
        return np.stack([getattr(self, name) for name in ROTATIONS], axis=1)

    def resample(self, time: Float[np.ndarray, " N"]) -> Motion:
        """The motion at other moments (seconds): slerp for rotations, linear for the rest, held at both ends."""
        moments = np.clip(np.asarray(time, np.float64), self.time[0], self.time[-1])
        return replace(self, time=np.asarray(time, np.float64), **({"sound": None} | self._rows_at(moments)))

    def back_and_forth(self, time: Float[np.ndarray, " N"]) -> Motion:
        """The motion at seconds from its first moment on, for any length: where it ends it gently turns around."""
        moments, length = np.asarray(time, np.float64), float(self.time[-1] - self.time[0])
        if length <= 0:
            return self.resample(moments)
        place = bounced(moments, length)
        return replace(self, time=moments, **({"sound": None} | self._rows_at(self.time[0] + place)))

    def _rows_at(self, moments: Float[np.ndarray, " N"]) -> dict[str, np.ndarray]:
        """The rows at moments within the motion, in any order."""
        rows: dict[str, np.ndarray] = {}
        for name in (*PER_FRAME, "sound") if self.sound.size else PER_FRAME:
            value = getattr(self, name)
            if len(self) == 1:
                rows[name] = np.repeat(value, len(moments), axis=0)
            elif name in ROTATIONS:
                rows[name] = Slerp(self.time, Rotation.from_rotvec(value))(moments).as_rotvec()
            else:
                rows[name] = np.stack([np.interp(moments, self.time, column) for column in value.T], axis=1)
        return {name: value.astype(np.float32) for name, value in rows.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """All that the motion has, by name, as an npz holds it."""
        unused = () if self.sound.size else ("sound", "sound_id")
        stored: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in unused}
        return {name: np.asarray(value) for name, value in stored.items() if value is not None}

    def save(self, path: Path) -> None:
        """Writes the motion as an npz of plain arrays."""
        np.savez_compressed(path, **self.arrays())  # pyright: ignore[reportArgumentType]

    @classmethod
    def load(cls, path: Path) -> Motion:
        """Reads a motion npz; raises FormatError for anything else."""
        path = Path(path)
        try:
            # Opened here: of a broken archive numpy leaves the file open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                # Files of other tools need not know about the shoulders and the offsets.
                values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored or f.name not in OPTIONAL}
        except (FileNotFoundError, PermissionError):
            raise
        # What numpy reads as something other than an npz fails as a context manager, by type or by attribute.
        except (
            OSError,
            EOFError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise FormatError(
                f"{path} is not a motion file",
                expected=f"an npz with {', '.join(f.name for f in fields(cls))}",
                # What is no archive at all numpy takes for a pickle, and tells how to run it.
                found="a folder" if path.is_dir() else "something else" if "pickle" in str(error) else str(error),
            ) from error
        for name in {"head_id", "head_hash", "sound_id"} & values.keys():
            values[name] = str(values[name])
        return cls(**values)
