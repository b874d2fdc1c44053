"""The avatar on disk: a folder, or the same files zipped as one ``.avatar``.

``avatar.json`` says what it is, ``weights.safetensors`` holds every tensor, ``background.png`` is the clip's own plate
and ``preview.png`` a picture. Loading executes nothing: names, shapes and dtypes are checked before use.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from avatar.config import write_json
from avatar.errors import FormatError, InputError
from avatar.fields.condition import MotionCondition, feature_count
from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.fields.speech_condition import SpeechCondition
from avatar.heads import load_head
from avatar.io._files import write_tensors, writing
from avatar.io._levels import from_levels, to_levels
from avatar.view_cone import ViewCone

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from torch import Tensor

    from avatar.heads import Head

SCHEMA = 1
MANIFEST, WEIGHTS, PLATE, PREVIEW = "avatar.json", "weights.safetensors", "background.png", "preview.png"
FILES = (MANIFEST, WEIGHTS, PLATE, PREVIEW)
LARGEST_FILE = 1 << 30
BARYCENTRIC_TOLERANCE = 0.01
TRAINED = ("offsets", "log_scales", "quats", "opacity_logits", "color_logits", "residuals")
GAUSSIANS, SPEECH, LIFE = "gaussians.", "speech.", "life."


@dataclass(frozen=True)
class SoundFeatures:
    """Which speech features an avatar's residuals listen to.

    Attributes:
        model: Network and layer.
        rate: Rows a second.
    """

    model: str
    rate: float


@dataclass(frozen=True)
class AvatarInfo:
    """What ``avatar.json`` says.

    Attributes:
        head_id: The head model's id.
        head_hash: Its content hash: an avatar does not work on another head.
        gaussians: Number of Gaussians.
        width: Width of the recording, pixels.
        height: Height of the recording, pixels.
        focal: Focal length of the recording, pixels.
        fps: Frames per second of the recording, a fraction.
        speech: Settings of the speech model; None for an avatar for which the general model speaks.
        limits: Ranges of the head's turns that the take shows, degrees: yaw (positive to the subject's left), pitch
            (positive downwards) and roll.
        view_cone: From where it may be looked at; None where that was not measured.
        provenance: Where it comes from: source hash, versions.
        consent: The consent statement of the person shown, where one was given.
        sound: What its residuals listen to; None for an avatar that moves by motion alone.
        schema: Version of this layout.
    """

    head_id: str
    head_hash: str
    gaussians: int
    width: int
    height: int
    focal: float
    fps: tuple[int, int]
    speech: dict[str, Any] | None = None
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    view_cone: ViewCone | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    consent: str | None = None
    sound: SoundFeatures | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        sizes = (self.gaussians, self.width, self.height, *self.fps)
        if min(sizes) < 1 or not (self.focal > 0 and math.isfinite(self.focal)):
            raise ValueError("gaussians, width, height, focal and fps must be positive")


@dataclass(frozen=True)
class StoredAvatar:
    """An avatar's content.

    Attributes:
        info: The manifest.
        gaussians: The Gaussians on their head.
        speech: Tensors of the speech model; empty without one.
        life: Tensors of the model of blinks and head motion.
        plate: (H, W, 3) the clip's own background.
    """

    info: AvatarInfo
    gaussians: GaussianHead
    speech: dict[str, Tensor]
    life: dict[str, Tensor]
    plate: UInt8[np.ndarray, "H W 3"]

    @property
    def head(self) -> Head:
        """The head model on the CPU, where all is worked out but what is drawn."""
        return self.gaussians.head.on("cpu")

    def on(self, device: torch.device) -> StoredAvatar:
        """The avatar with its Gaussians moved to a device, to be drawn there."""
        return replace(self, gaussians=self.gaussians.to(device))


def gaussian_tensors(head: GaussianHead) -> dict[str, Tensor]:
    """The tensors of a Gaussian head as stored: in half precision, residuals in bytes; no eye or metric sees it."""
    compact = {name: getattr(head, name).detach().half() for name in TRAINED if name != "residuals"}
    compact["residual_levels"], compact["residual_steps"] = to_levels(head.residuals.detach())
    if head.sound is not None:
        compact |= {f"sound_{name}": value for name, value in head.sound.named_buffers()}
    if head.vertex_offsets.any():
        compact["vertex_offsets"] = head.vertex_offsets.half()
    return compact | {
        "barycentric": head.barycentric.half(),
        "triangles": head.triangles.int(),
        "regions": head.regions.to(torch.uint8),
        "betas": head.betas,
        "torso_vertices": head.torso_vertices,
        "torso_faces": head.torso_faces.int(),
        "condition_mean": head.condition.mean,
        "condition_basis": head.condition.basis,
    }


def save_avatar(
    folder: Path,
    info: AvatarInfo,
    gaussians: GaussianHead,
    *,
    speech: dict[str, Tensor],
    life: dict[str, Tensor],
    plate: UInt8[np.ndarray, "H W 3"],
    preview: UInt8[np.ndarray, "H W 3"],
) -> None:
    """Writes an avatar into a folder: everything beside what is there, then all files moved into place.

    The manifest goes first and comes last, so that files of two avatars are never taken for one.

    Raises:
        InputError: The folder cannot be written to, or the disk is full; the avatar that was there stays.
    """
    writing(folder, lambda path: path.mkdir(parents=True, exist_ok=True))
    heard = gaussians.sound
    info = replace(info, sound=SoundFeatures(heard.feature_model, heard.feature_rate) if heard else None)
    tensors = {GAUSSIANS + k: v for k, v in gaussian_tensors(gaussians).items()}
    tensors |= {SPEECH + k: v for k, v in speech.items()} | {LIFE + k: v for k, v in life.items()}
    partial = {name: folder / f"{name}.new" for name in FILES}
    try:
        write_tensors(partial[WEIGHTS], {k: v.contiguous() for k, v in tensors.items()})
        for name, image in ((PLATE, plate), (PREVIEW, preview)):
            data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
            writing(partial[name], lambda path, data=data: path.write_bytes(data))
        writing(partial[MANIFEST], lambda path: write_json(path, info))
    except InputError:
        for file in partial.values():
            file.unlink(missing_ok=True)
        raise
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in (WEIGHTS, PLATE, PREVIEW, MANIFEST):
        partial[name].replace(folder / name)


def pack_avatar(folder: Path, path: Path) -> None:
    """Zips an avatar folder as one ``.avatar`` file."""
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in FILES:
            archive.write(folder / name, name)
    partial.replace(path)


def load_avatar(path: Path) -> StoredAvatar:
    """Reads an avatar folder or ``.avatar`` file; raises InputError or FormatError for anything else."""
    files = _read_files(Path(path))
    try:
        schema = msgspec.json.decode(files[MANIFEST], type=dict[str, Any]).get("schema")
        info = msgspec.json.decode(files[MANIFEST], type=AvatarInfo) if schema == SCHEMA else None
        tensors = load_tensors(files[WEIGHTS])
    except (msgspec.DecodeError, SafetensorError, ValueError) as error:
        raise FormatError(
            f"The avatar {path} is damaged", expected="avatar.json and weights.safetensors as written", found=str(error)
        ) from error
    if info is None:
        raise FormatError(
            f"The avatar {path} has another layout",
            expected=f"schema {SCHEMA}",
            found=f"schema {schema}",
            fix="update headsplat, or make the avatar again",
        )
    plate = cv2.imdecode(np.frombuffer(files[PLATE], np.uint8), cv2.IMREAD_COLOR) if files[PLATE] else None
    if plate is None:
        raise FormatError(f"The avatar {path} is damaged", expected=f"a PNG picture in {PLATE}", found="something else")
    sections = [
        {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        for prefix in (GAUSSIANS, SPEECH, LIFE)
    ]
    gaussians = _gaussian_head(path, info, sections[0])
    return StoredAvatar(info, gaussians, sections[1], sections[2], np.ascontiguousarray(plate[..., ::-1]))


def _read_files(path: Path) -> dict[str, bytes]:
    """The bytes of the avatar's files, from a folder or a zip; members of other names are never touched."""
    needed = (MANIFEST, WEIGHTS, PLATE)
    if path.is_dir():
        missing = [name for name in needed if not (path / name).is_file()]
        if missing:
            raise InputError(
                f"{path} is not an avatar",
                expected=f"a folder with {', '.join(needed)}",
                found=f"no {', '.join(missing)}",
                fix="make one with: avatar create VIDEO -o FOLDER",
            )
        return {name: (path / name).read_bytes() for name in needed}
    try:
        with zipfile.ZipFile(path) as archive:
            oversized = [n for n in needed if archive.getinfo(n).file_size > LARGEST_FILE]
            if oversized:
                raise FormatError(f"The avatar {path} is too large", expected="files under 1 GiB", found=str(oversized))
            return {name: archive.read(name) for name in needed}
    except FileNotFoundError as error:
        raise InputError(
            f"There is no avatar at {path}",
            expected="an avatar folder or an .avatar file",
            found="nothing",
            fix="check the path, or make one with: avatar create VIDEO -o FOLDER",
        ) from error
    except PermissionError:
        raise
    except (KeyError, zipfile.BadZipFile, zlib.error, RuntimeError, OSError) as error:
        raise FormatError(
            f"{path} is not an avatar, or is cut short",
            expected="a whole .avatar file (a zip)",
            found=str(error),
            fix="copy it again, or make it again with: avatar export FOLDER --format avatar",
        ) from error


def _gaussian_head(path: Path, info: AvatarInfo, tensors: dict[str, Tensor]) -> GaussianHead:
    """Builds the Gaussians after checking every shape, type and index."""
    head = load_head(info.head_id)
    if head.hash != info.head_hash:
        raise InputError(
            f"The avatar {path} was made for another version of the head {info.head_id}",
            expected=f"content {info.head_hash[:12]}",
            found=f"content {head.hash[:12]}",
            fix="make the avatar again, or install the version of headsplat that made it",
        )
    n = info.gaussians
    features = feature_count(head)
    components = next(reversed(tensors["condition_basis"].shape), 0) if "condition_basis" in tensors else 0
    shapes: dict[str, tuple[int | None, ...]] = {
        "condition_mean": (features,),
        "condition_basis": (features, components),
        "offsets": (n, 3),
        "log_scales": (n, 3),
        "quats": (n, 4),
        "opacity_logits": (n,),
        "color_logits": (n, 3),
        "barycentric": (n, 3),
        "triangles": (n,),
        "regions": (n,),
        "betas": (None,),
        "torso_vertices": (None, 3),
        "torso_faces": (None, 3),
    }
    heard = 0
    # Absent where the motion alone drives the residuals.
    if info.sound is not None:
        heard = len(tensors["sound_bias"]) if "sound_bias" in tensors else 0
        shapes |= {
            "sound_weights": (None, heard),
            "sound_motion": (features, heard),
            "sound_bias": (heard,),
        }
    # Avatars of earlier versions have them in half precision.
    if "residuals" in tensors:
        shapes["residuals"] = (n, 10, components)
    else:
        shapes |= {"residual_levels": (n, 10, components + heard), "residual_steps": (10, components + heard)}
    # Absent where the subject has no offsets.
    if "vertex_offsets" in tensors:
        shapes["vertex_offsets"] = (len(head.v_template), 3)
    for name, shape in shapes.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if (
            found is None
            or len(found) != len(shape)
            or any(s not in (None, f) for s, f in zip(shape, found, strict=True))
        ):
            raise FormatError(f"The avatar {path} is damaged", expected=f"{name} of shape {shape}", found=str(found))
        if not torch.isfinite(tensors[name]).all():
            raise FormatError(f"The avatar {path} is damaged", expected=f"finite {name}", found="NaN or inf")
    if len(tensors["betas"]) > head.shapedirs.shape[-1]:
        raise FormatError(
            f"The avatar {path} is damaged",
            expected=f"up to {head.shapedirs.shape[-1]} betas",
            found=str(len(tensors["betas"])),
        )
    vertices = len(head.v_template) + len(tensors["torso_vertices"])
    triangles = len(head.faces) + len(tensors["torso_faces"])
    for name, limit in (("triangles", triangles), ("torso_faces", vertices), ("regions", len(REGIONS))):
        values = tensors[name].long()
        if values.numel() and not (values.min() >= 0 and values.max() < limit):
            raise FormatError(f"The avatar {path} is damaged", expected=f"{name} below {limit}", found="other indices")
    # Rounded weights no longer sum to one, which would pull each anchor towards the origin, far from the head.
    barycentric = tensors["barycentric"].float()
    total = barycentric.sum(1, keepdim=True)
    if ((total - 1).abs() > BARYCENTRIC_TOLERANCE).any():
        raise FormatError(f"The avatar {path} is damaged", expected="barycentric rows that sum to 1", found="others")
    result = GaussianHead(
        head,
        tensors["betas"].float(),
        tensors["torso_vertices"].float(),
        tensors["torso_faces"].long(),
        MotionCondition(tensors["condition_mean"].float(), tensors["condition_basis"].float()),
        triangles=tensors["triangles"].long(),
        barycentric=barycentric / total,
        regions=tensors["regions"].long(),
        vertex_offsets=tensors["vertex_offsets"].float() if "vertex_offsets" in tensors else None,
        sound=_sound(info, tensors),
    )
    if "residuals" not in tensors:
        tensors = tensors | {"residuals": from_levels(tensors["residual_levels"], tensors["residual_steps"])}
    with torch.no_grad():
        for name in TRAINED:
            getattr(result, name).copy_(tensors[name].float())
    return result.requires_grad_(False)


def _sound(info: AvatarInfo, tensors: dict[str, Tensor]) -> SpeechCondition | None:
    if info.sound is None:
        return None
    weights, motion, bias = (tensors[f"sound_{name}"].float() for name in ("weights", "motion", "bias"))
    return SpeechCondition(weights, motion, bias, feature_model=info.sound.model, feature_rate=info.sound.rate)
