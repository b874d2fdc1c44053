"""What drives `avatar render --video`: a clip of somebody, tracked for the purpose and brought onto the avatar."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape

from avatar.commands._console import say
from avatar.commands._head_pose import with_filmed_shoulders
from avatar.commands._take import track_clip
from avatar.editing import FaceMap, neutral_of, transfer
from avatar.heads import load_head
from avatar.heads.retarget import motion_on, with_identity
from avatar.io.sound import SoundFile
from avatar.io.take import Take
from avatar.io.video import frame_count, probe
from avatar.render import motions

if TYPE_CHECKING:
    from jaxtyping import Bool

    from avatar.heads import Head
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion

# The face is found in pictures of full size, whatever the size of the take; nothing is learnt from a driver's looks.
DRIVER_SIDE = 256
SOUND_RATE = 48_000
FILE = "speech.wav"


@dataclass(frozen=True)
class Driver:
    """A tracked clip.

    Attributes:
        name: Of the clip.
        motion: Of whoever is in it, from 0 s on.
        seen: (T,) moments in which the face was seen clearly.
        fps: Frames a second.
        focal_in_widths: Focal length over the width of the pictures that were tracked.
        source_sha256: Hash of the clip.
        sound: What is heard with the motion, from its first moment on; None for a silent clip.
        head: The head model of the motion.
    """

    name: str
    motion: Motion
    seen: Bool[np.ndarray, " T"]
    fps: Fraction
    focal_in_widths: float
    source_sha256: str
    sound: SoundFile | None
    head: Head

    @property
    def seconds(self) -> float:
        """How long it is shown."""
        return float(self.motion.time[-1] - self.motion.time[0]) + float(1 / self.fps)


def track_driver(video: Path, head: Head) -> Driver:
    """Tracks a clip in a temporary folder; of a folder that is a tracked take, takes that.

    Raises:
        InputError: The clip cannot be read, shows too little of a face or two equal ones, or the take is not tracked.
    """
    if video.is_dir():
        take = Take.open(video)
        sound = SoundFile(video / FILE, SOUND_RATE) if (video / FILE).is_file() else None
        return _driver_of(take, load_head(take.info.head_id), sound)
    probe(video)
    if head.lmk478_faces is None:
        # Clips are tracked by landmarks that this avatar's head lacks; ARKit's actions bring the motion over.
        head = load_head().on(head.device)
    with tempfile.TemporaryDirectory(prefix="avatar-driver-") as folder:
        take = track_clip(video, Path(folder) / "take", head, size=DRIVER_SIDE)
        return _driver_of(take, head, _sound_of(video, take))


def _driver_of(take: Take, head: Head, sound: SoundFile | None) -> Driver:
    info = take.info
    return Driver(
        name=info.source_name,
        motion=take.motion(),
        seen=take.used,
        fps=Fraction(*info.fps),
        focal_in_widths=info.focal / info.width,
        source_sha256=info.source_sha256,
        sound=sound,
        head=head,
    )


def used_shot(take: Take) -> dict[str, Any] | None:
    """Which of a clip's several shots a take shows; None for a clip without cuts."""
    shots = take.info.stages["ingest"].detail.get("shots", ())
    return next((shot for shot in shots if shot["used"]), None) if len(shots) > 1 else None


def _sound_of(video: Path, take: Take) -> SoundFile | None:
    """The clip's sound from the take's first picture on, at a rate worth listening to; says what is left out."""
    detail, shot = take.info.stages["ingest"].detail, used_shot(take)
    if shot is not None:
        first, last = shot["seconds"]
        say(
            escape(
                f"{video.name} has {len(detail['shots'])} shots; the one where the main face is seen longest is used, "
                f"{first:.1f} to {last:.1f} s."
            )
        )
    if not detail["has_audio"]:
        return None
    return SoundFile(video, SOUND_RATE, start=0.0 if shot is None else shot["seconds"][0])


def driven_motion(
    stored: StoredAvatar, driver: Driver, *, fps: Fraction, pose: str | None, still: bool
) -> tuple[Motion, tuple[SoundFile, int] | None, dict[str, Any]]:
    """An avatar's motion after a driver's, at the film's rate; its sound; and what to report.

    Args:
        stored: The avatar.
        driver: Whoever drives it.
        fps: Frames a second of the film.
        pose: ``absolute``, ``relative``, or None for what suits the driver.
        still: Keep the avatar's own pose at ease instead.
    """
    own = stored.info.provenance.get("source_sha256") == driver.source_sha256
    chosen = pose or ("absolute" if own else "relative")
    kept = "still" if still else chosen
    motion = on_avatar(stored, driver, own=own, pose=kept)
    count = frame_count(driver.seconds, fps)
    sound = driver.sound
    if sound is None:
        say(escape(f"{driver.name} has no sound, so the film is silent."))
    else:
        sound = replace(sound, end=sound.start + count / float(fps))
    lost = int((~driver.seen).sum())
    if lost:
        say(escape(f"{driver.name}: the face was not seen clearly in {lost} of {len(driver.seen)} pictures."))
    facts = {
        "video": driver.name,
        "identity": "own" if own else "other",
        "pose": kept,
        "pictures": len(driver.seen),
        "pictures_without_face": lost,
        "sound": sound is not None,
    }
    motion = motion.resample(driver.motion.time[0] + np.arange(count) / float(fps))
    return motion, None if sound is None else (sound, SOUND_RATE), {"driver": facts}


def on_avatar(stored: StoredAvatar, driver: Driver, *, own: bool, pose: str) -> Motion:
    """The driver's motion on the avatar, at the driver's moments, with the avatar's identity.

    The avatar's own recording is shown as it was tracked; of anybody else the face is brought over by what it does
    beyond its neutral.
    """
    head, betas = stored.head, stored.gaussians.betas
    motion, note = motion_on(driver.motion, head, betas=betas)
    if note:
        say(note)
    else:
        motion = with_identity(motion, head, betas=betas)
    # As far away as it takes for the head to be as large in this picture as it was in that one.
    nearer = stored.info.focal / stored.info.width / driver.focal_in_widths
    motion = replace(motion, transl=(motion.transl * [1, 1, nearer]).astype(np.float32))
    face, rest = FaceMap(head, betas.cpu().numpy()), motions.ease_motion(stored)
    neutral = neutral_of(motion, face, seen=driver.seen)
    moved = transfer(motion, neutral, rest, pose=pose)  # type: ignore[arg-type]
    if not own:
        return with_filmed_shoulders(stored, moved) if pose == "relative" else moved
    rows = ("expression", "jaw_pose", "leye_pose", "reye_pose", "eyelids")
    return replace(moved, **{name: getattr(motion, name) for name in rows})
