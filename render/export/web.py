"""The web player's folder: a page that any web server hosts, and one avatar with one track to play on it."""

from __future__ import annotations

import gzip
import io
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import soundfile
import soxr

from avatar.errors import InputError
from avatar.heads.arkit import ARKIT_NAMES
from avatar.models import fetch
from avatar.render.export._web_package import SCHEMA, pack_gaussians
from avatar.render.export._web_track import POSE_COLUMNS, between_the_eyes, track_rows
from avatar.render.motions import SPEECH_RATE, ease_motion, idle_motion, spoken_motion

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion

PLAYER_FILES = ("index.html", "style.css", "local.js", "page.js", "player.js", "three-adapter.js")
MANIFEST, DATA, TRACK, SOUND = "avatar.json", "avatar.bin", "track.bin", "sound.mp3"
# Of the npm package @mediapipe/tasks-vision, and where it lies in the page's folder.
WEBCAM_FILES = {
    "webcam/vision_bundle.mjs": "vision_bundle.mjs",
    "webcam/vision_wasm_internal.js": "wasm/vision_wasm_internal.js",
    "webcam/vision_wasm_internal.wasm": "wasm/vision_wasm_internal.wasm",
}
WEBCAM_MODEL = "webcam/face_landmarker.task"
SOUND_RATE = 48_000


def export_web(
    stored: StoredAvatar,
    target: Path,
    *,
    moment: Motion,
    motion: Motion | None,
    sound: tuple[np.ndarray, int] | None = None,
    seed: int = 0,
    webcam: Path | None = None,
) -> dict[str, Any]:
    """The static folder of an avatar's page: player, avatar, track and sound.

    Without a motion the avatar speaks the sound, and without a sound it blinks, looks and moves its head.

    Args:
        stored: The avatar.
        target: The folder to make.
        moment: Not looked at, for a page always moves.
        motion: What the page plays.
        sound: Samples (N,) or (N, C) in [-1, 1] and their rate; heard from the motion's first moment on.
        seed: Of the head motion and the blinks, where they are made here.
        webcam: The unpacked npm package ``@mediapipe/tasks-vision``, which is copied into the folder together with
            MediaPipe's face landmarker; the page then follows its visitor's face where they want it. It adds 17 MB,
            which only those load who press the button.

    Returns:
        Figures: Gaussians, frames, seconds and bytes of each file.

    Raises:
        InputError: The motion is for another head model.
    """
    motion = motion or _default_motion(stored, sound, seed)
    entries = _files(stored, motion, sound)
    if webcam:
        entries |= _webcam_files(webcam)
        entries[MANIFEST] = _with_webcam(entries[MANIFEST])
    target.mkdir()
    for name, content in entries.items():
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_bytes(content)
    seconds = float(motion.time[-1] - motion.time[0])
    sizes = {name: len(content) for name, content in entries.items()}
    return {"gaussians": len(stored.gaussians), "frames": len(motion), "seconds": seconds, "files": sizes}


def _default_motion(stored: StoredAvatar, sound: tuple[np.ndarray, int] | None, seed: int) -> Motion:
    """The avatar speaks the sound, or listens where there is none."""
    fps = stored.info.fps[0] / stored.info.fps[1]
    if sound is None:
        return idle_motion(stored, fps=fps, seed=seed)
    return spoken_motion(stored, _mono(*sound, SPEECH_RATE), fps=fps, seed=seed)


def _files(stored: StoredAvatar, motion: Motion, sound: tuple[np.ndarray, int] | None) -> dict[str, bytes]:
    """Every file of the folder."""
    gaussians, info = stored.gaussians, stored.info
    gaussians.poses(motion[:1])  # Refuses a motion for another head model.
    ease = ease_motion(stored)
    head = gaussians.head
    row = track_rows(ease, head)[0]
    steady, fps = _steady(motion, info.fps[0] / info.fps[1])
    entries, data = pack_gaussians(gaussians)
    manifest = {
        "format": "headsplat-web",
        "schema": SCHEMA,
        **entries,
        "data": {"file": DATA, "bytes": len(data)},
        "camera": {"focal": info.focal, "width": info.width, "height": info.height},
        "center": between_the_eyes(stored, ease).tolist(),
        "limits": info.limits,
        "view_cone": info.view_cone,
        "consent": info.consent,
        "coefficients": list(ARKIT_NAMES),
        "pose": list(POSE_COLUMNS),
        "neutral": row.tolist(),
        "track": {
            "file": TRACK,
            "frames": len(steady),
            "columns": len(row),
            "fps": fps,
            "sound": None if sound is None else SOUND,
        },
    }
    # Halves keep three digits; what is stored are differences from the neutral row, so that these are of what moves.
    rows = (track_rows(steady, head) - row).astype("<f2")
    result = {name: _player_file(name) for name in PLAYER_FILES}
    result[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    # Few hosts compress files of unknown kinds, so it is compressed here; the player looks at the first bytes.
    result[DATA] = gzip.compress(data, 9, mtime=0)
    result[TRACK] = rows.tobytes()
    if sound is not None:
        result[SOUND] = encode_mp3(_mono(*sound, SOUND_RATE), SOUND_RATE)
    return result


def _webcam_files(package: Path) -> dict[str, bytes]:
    """MediaPipe's runtime and its model."""
    missing = [name for name in WEBCAM_FILES.values() if not (package / name).is_file()]
    if missing:
        raise InputError(
            f"{package} is not MediaPipe for the web",
            expected="the unpacked npm package @mediapipe/tasks-vision",
            found=f"no {', '.join(missing)}",
            fix="run: npm pack @mediapipe/tasks-vision, and unpack what it downloads",
        )
    files = {name: (package / source).read_bytes() for name, source in WEBCAM_FILES.items()}
    return files | {WEBCAM_MODEL: fetch("face_landmarker").read_bytes()}


def _with_webcam(manifest: bytes) -> bytes:
    module, model = next(iter(WEBCAM_FILES)), WEBCAM_MODEL
    entry = {"module": module, "wasm": str(PurePosixPath(module).parent), "model": model}
    return msgspec.json.format(msgspec.json.encode(msgspec.json.decode(manifest) | {"webcam": entry}), indent=1)


def _steady(motion: Motion, fps: float) -> tuple[Motion, float]:
    """The motion at even moments: its own, or those of a frame rate."""
    if len(motion) < 2:
        return motion, fps
    gaps = np.diff(motion.time)
    if np.abs(gaps - gaps.mean()).max() < 1e-3:
        return motion, float(1 / gaps.mean())
    count = max(1, round(float(motion.time[-1] - motion.time[0]) * fps) + 1)
    return motion.resample(motion.time[0] + np.arange(count) / fps), fps


def _mono(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    one = samples if samples.ndim == 1 else samples.mean(axis=1)
    return soxr.resample(one.astype(np.float32), rate, wanted) if rate != wanted else one.astype(np.float32)


def encode_mp3(samples: np.ndarray, rate: int) -> bytes:
    """Mono sound as MP3, the one format that every browser decodes."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), rate, format="MP3")
    return file.getvalue()


def _player_file(name: str) -> bytes:
    path = files("avatar.render") / "web" / "dist" / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            "The web player is not part of this installation",
            expected=f"{name} in avatar/render/web/dist",
            found="no such file",
            fix="install headsplat again; in a checkout: npm ci && npm run build in render/web",
        ) from error
