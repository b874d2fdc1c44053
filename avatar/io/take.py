"""The take: a preprocessed recording, as a folder with one row per frame in everything it holds."""

from __future__ import annotations

import platform
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import cv2
import numpy as np
import soundfile

from avatar.config import read_json, write_json
from avatar.errors import FormatError, InputError
from avatar.io._files import damaged, peak_memory, read_png, replacing, write_png, writing
from avatar.io.audio import write_wav
from avatar.io.transforms import write_transforms
from avatar.motion import Motion

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int, UInt8

SCHEMA = 1
SPEECH_RATE = 16000
COMPLETE = "complete"
TRACKING_KEYS = ("betas", "log_focal", "offsets", "root", "vergence")
# The capture report, for programs and for people.
CAPTURE_REPORT, CAPTURE_PAGE = "report.json", "report.html"


@dataclass(frozen=True)
class StageRecord:
    """What one stage did to the take.

    Attributes:
        status: ``complete``, or what else became of it.
        seconds: Wall-clock seconds it took.
        peak_rss_mb: Largest resident memory of the process so far, in MB.
        detail: What the stage has to say of itself, plain JSON values.
    """

    status: str = COMPLETE
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TakeInfo:
    """The content of take.json.

    Attributes:
        width: Width of the images in pixels.
        height: Height of the images in pixels.
        fps: Average frames a second of the source, as numerator and denominator; the real times are in frames.npz.
        source_name: File name of the recording.
        source_sha256: SHA-256 of its bytes.
        crop: Left, top and side in pixels of the upright source picture that the images show, scaled to `width`.
        focal: Focal length in pixels of the images; 0 until the take is tracked.
        head_id: Head model of the motion; empty until the take is tracked.
        head_hash: Its content hash.
        camera: Convention of the camera: one fixed ``Camera.front`` in OpenCV axes, principal point in the centre.
        stages: What each stage did, by its name.
        versions: Versions of the tools that wrote the take.
        schema: Version of this layout.
    """

    width: int
    height: int
    fps: tuple[int, int]
    source_name: str
    source_sha256: str
    crop: tuple[int, int, int] = (0, 0, 0)
    focal: float = 0.0
    head_id: str = ""
    head_hash: str = ""
    camera: str = "front/opencv"
    stages: dict[str, StageRecord] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA


class Perception(TypedDict):
    """What was seen of the face in each of T frames; rows of NaN and confidence 0 where it was lost.

    Attributes:
        landmarks: (T, 478, 3) pixels of the images, z towards the scene in the same unit.
        blendshapes: (T, 52) ARKit-like coefficients in [0, 1].
        confidence: (T,) in [0, 1]; 0 with finite landmarks marks a short gap that was bridged.
    """

    landmarks: Float32[np.ndarray, "T 478 3"]
    blendshapes: Float32[np.ndarray, "T 52"]
    confidence: Float32[np.ndarray, " T"]


class SpeechTrack(TypedDict):
    """Stored features of the sound: (N, D) values, rows a second, and the model that made them."""

    features: Float[np.ndarray, "N D"]
    rate: float
    model: str


class Take:
    """A take on disk. Reading is lazy; every write is complete or does not happen.

    Attributes:
        path: The folder.
        info: The content of take.json; change it with `update`.
    """

    def __init__(self, path: Path, info: TakeInfo) -> None:
        self.path, self.info = Path(path), info

    @classmethod
    def open(cls, path: Path) -> Take:
        """Opens a take; raises InputError where there is none and FormatError where it cannot be read."""
        path = Path(path)
        if not (path / "take.json").is_file():
            raise InputError(
                f"{path} is not a take",
                expected="a folder with a take.json",
                found="a folder without one" if path.is_dir() else "a file" if path.exists() else "nothing there",
                fix="make one with `avatar preprocess VIDEO -o TAKE`",
            )
        schema = read_json(path / "take.json", dict).get("schema")
        if schema != SCHEMA:
            raise FormatError(
                f"{path} is a take of another version",
                expected=f"schema {SCHEMA}",
                found=f"schema {schema}",
                fix="preprocess the recording again, or use the version of the tool that made the take",
            )
        return cls(path, read_json(path / "take.json", TakeInfo))

    @classmethod
    def create(cls, path: Path, info: TakeInfo) -> Take:
        """Makes the folders and take.json; raises InputError where that is not possible."""
        take = cls(path, info)
        versions = {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__}
        for name in ("images", "masks", "parts"):
            writing(take.path / name, lambda folder: folder.mkdir(parents=True, exist_ok=True))
        take.update(versions=versions | info.versions)
        return take

    def update(self, **changes: Any) -> None:
        """Replaces fields of take.json, such as ``focal=…``."""
        self.info = replace(self.info, **changes)
        writing(self.path / "take.json", lambda file: write_json(file, self.info))

    def record(self, stage: str, *, seconds: float, status: str = COMPLETE, **detail: Any) -> None:
        """Notes in take.json what a stage did and how long it took."""
        note = StageRecord(status, round(seconds, 3), round(peak_memory(), 1), detail)
        self.update(stages=self.info.stages | {stage: note})

    def is_complete(self, stage: str) -> bool:
        """Whether a stage has been recorded as complete."""
        return stage in self.info.stages and self.info.stages[stage].status == COMPLETE

    def image(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Frame `index` as sRGB."""
        return read_png(self.path / "images" / f"{index:05d}.png", color=True)

    def mask(self, index: int) -> Float32[np.ndarray, "H W"]:
        """Soft alpha of the person in frame `index`, in [0, 1]."""
        return read_png(self.path / "masks" / f"{index:05d}.png").astype(np.float32) / 255

    def parts(self, index: int) -> UInt8[np.ndarray, "H W"]:
        """Labels of frame `index`: BACKGROUND, HEAD or TORSO of `avatar.io.parts`."""
        return read_png(self.path / "parts" / f"{index:05d}.png")

    def covered(self, index: int) -> Bool[np.ndarray, "H W"] | None:
        """Where something is before the face in frame `index`, such as a hand; None where nothing is known to be."""
        path = self._covered(index)
        return read_png(path) > 0 if path.is_file() else None

    def background(self) -> UInt8[np.ndarray, "H W 3"]:
        """The plate: the scene without the person, as sRGB."""
        return read_png(self.path / "background.png", color=True)

    def write_image(self, index: int, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Stores frame `index`."""
        write_png(self.path / "images" / f"{index:05d}.png", image)

    def write_mask(self, index: int, alpha: Float32[np.ndarray, "H W"]) -> None:
        """Stores the soft alpha in [0, 1] of frame `index` in 8 bits."""
        write_png(self.path / "masks" / f"{index:05d}.png", np.round(np.clip(alpha, 0, 1) * 255).astype(np.uint8))

    def write_parts(self, index: int, labels: UInt8[np.ndarray, "H W"]) -> None:
        """Stores the labels of frame `index`."""
        write_png(self.path / "parts" / f"{index:05d}.png", labels)

    def write_covered(self, index: int, covered: Bool[np.ndarray, "H W"]) -> None:
        """Stores where something is before the face in frame `index`."""
        path = self._covered(index)
        writing(path.parent, lambda folder: folder.mkdir(exist_ok=True))
        write_png(path, np.where(covered, np.uint8(255), np.uint8(0)))

    def forget_covered(self) -> None:
        """Forgets what is before the face in any frame."""
        for path in self._covered(0).parent.glob("*.png"):
            writing(path, Path.unlink)

    def write_background(self, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Stores the plate."""
        write_png(self.path / "background.png", image)

    @property
    def times(self) -> Float[np.ndarray, " T"]:
        """Seconds of each frame since the first one, which is also the zero of the speech."""
        return self._read("frames.npz", "time", "used")["time"]

    @property
    def used(self) -> Bool[np.ndarray, " T"]:
        """Which frames may be learnt from: the face was seen in them."""
        return self._read("frames.npz", "time", "used")["used"]

    def __len__(self) -> int:
        return len(self.times)

    def write_frames(self, time: Float[np.ndarray, " T"], used: Bool[np.ndarray, " T"]) -> None:
        """Stores the time of each frame in seconds and whether it may be learnt from."""
        self._save("frames.npz", {"time": np.asarray(time, np.float64), "used": np.asarray(used, bool)})

    def split(self) -> dict[str, Int[np.ndarray, " N"]]:
        """Used frames by purpose: the last tenth is held out as ``test``, ``train`` is the rest, ``val`` is empty."""
        used = np.flatnonzero(self.used)
        start = len(used) - len(used) // 10
        return {"train": used[:start], "val": used[:0], "test": used[start:]}

    def perception(self) -> Perception:
        """What was seen of the face in each frame."""
        stored = self._read("perception.npz", "landmarks", "blendshapes", "confidence")
        return Perception(
            landmarks=stored["landmarks"], blendshapes=stored["blendshapes"], confidence=stored["confidence"]
        )

    def hidden_landmarks(self) -> Bool[np.ndarray, "T 478"]:
        """Which landmarks lie on something that is before the face: those of covered pixels."""
        landmarks = self.perception()["landmarks"]
        hidden = np.zeros(landmarks.shape[:2], bool)
        for index in np.flatnonzero(np.isfinite(landmarks).all((1, 2))).tolist():
            covered = self.covered(index)
            if covered is not None:
                places = np.floor(landmarks[index, :, :2]).astype(int)
                columns, rows = places.clip(0, (self.info.width - 1, self.info.height - 1)).T
                hidden[index] = covered[rows, columns]
        return hidden

    def write_perception(self, seen: Perception) -> None:
        """Stores what was seen of the face in each frame."""
        self._save(
            "perception.npz",
            {
                "landmarks": np.asarray(seen["landmarks"], np.float32),
                "blendshapes": np.asarray(seen["blendshapes"], np.float32),
                "confidence": np.asarray(seen["confidence"], np.float32),
            },
        )

    def motion(self) -> Motion:
        """The tracked motion, one row per frame; raises InputError before tracking."""
        return Motion.load(self._existing("motion.npz"))

    def write_motion(self, motion: Motion, *, focal: float) -> None:
        """Stores the motion, the focal length (pixels) it was tracked with, and the transforms of each split."""
        replacing(self.path / "motion.npz", motion.save)
        self.update(focal=float(focal), head_id=motion.head_id, head_hash=motion.head_hash)
        for name, indices in self.split().items():
            file = self.path / f"transforms_{name}.json"
            writing(file, lambda f, rows=indices: write_transforms(f, self.info, times=self.times, indices=rows))

    def tracking(self) -> dict[str, np.ndarray]:
        """What the tracker found of the clip as a whole; raises InputError before tracking."""
        return self._read("tracking.npz", *TRACKING_KEYS)

    def write_tracking(self, values: Mapping[str, np.ndarray]) -> None:
        """Stores what the tracker found of the clip as a whole: arrays by the names of `TRACKING_KEYS`."""
        self._save("tracking.npz", {name: values[name] for name in TRACKING_KEYS})

    def speech(self) -> Float32[np.ndarray, " N"] | None:
        """The sound as 16 kHz mono from the first frame on, or None where the recording has none."""
        path = self.path / "speech.wav"
        if not path.exists():
            return None
        try:
            return soundfile.read(path, dtype="float32")[0]
        except soundfile.LibsndfileError as error:
            raise damaged(path, "a WAV file", error) from error

    def write_speech(self, samples: Float[np.ndarray, " N"]) -> None:
        """Stores the sound, 16 kHz mono."""
        write_wav(self.path / "speech.wav", samples, rate=SPEECH_RATE)

    def speech_track(self) -> SpeechTrack | None:
        """The stored features of the sound, or None where there are none."""
        if not (self.path / "speech.npz").exists():
            return None
        stored = self._read("speech.npz", "features", "rate", "model")
        return SpeechTrack(features=stored["features"], rate=float(stored["rate"]), model=str(stored["model"]))

    def write_speech_track(self, track: SpeechTrack) -> None:
        """Stores features of the sound."""
        self._save("speech.npz", {name: np.asarray(value) for name, value in track.items()})

    def _covered(self, index: int) -> Path:
        return self.path / "covered" / f"{index:05d}.png"

    def _existing(self, name: str) -> Path:
        if not (self.path / name).exists():
            raise InputError(
                f"The take {self.path} is not finished",
                expected=name,
                found="no such file",
                fix="run `avatar preprocess` on the recording again; it goes on where it stopped",
            )
        return self.path / name

    def _read(self, name: str, *keys: str) -> dict[str, np.ndarray]:
        path = self._existing(name)
        try:
            # Opened here: of a broken archive numpy leaves the file open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return {key: stored[key] for key in keys}
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            TypeError,
            AttributeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise damaged(path, f"an npz with {', '.join(keys)}", error) from error

    def _save(self, name: str, values: Mapping[str, np.ndarray]) -> None:
        # The array names are the take's own, so none of them can meet a parameter of savez.
        replacing(self.path / name, lambda file: np.savez(file, **values))  # pyright: ignore[reportArgumentType]
