"""``avatar dub``: other words in a clip's own pictures."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from rich.markup import escape

from avatar.cameras import Camera
from avatar.commands._console import progress_bar, say, show
from avatar.commands._device import chosen_device
from avatar.commands._driver import used_shot
from avatar.commands._output import check_outputs
from avatar.commands._speech import Speech
from avatar.commands._take import track_clip
from avatar.commands.render import spoken_motion
from avatar.editing import FaceMap, take_channels
from avatar.heads import load_head
from avatar.heads.retarget import motion_on, on_footage
from avatar.io.avatar import load_avatar
from avatar.io.footage import pictures_at
from avatar.io.parts import HEAD
from avatar.io.sound import SoundFile
from avatar.io.take import Take
from avatar.io.video import VideoWriter, check_video_name, frame_count, probe
from avatar.models.cache import sha256_of
from avatar.motion import PER_FRAME, bounced
from avatar.render.dubbing import dub_picture
from avatar.render.head_alone import head_alone
from avatar.render.playback import render_pose
from avatar.render.shots import poses_of
from avatar.speech.stand_in import able_speaker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Int

    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion
    from avatar.options import Dub
    from avatar.options.showing import Beyond

TRACKED_SIDE = 512
SOUND_RATE = 48_000
# Lips are predicted at this rate, then taken at the clip's own moments.
LIP_RATE = Fraction(50)
WORTH_SAYING = 0.1


@dataclass(frozen=True)
class Footage:
    """A clip whose head is tracked.

    Attributes:
        video: Its file.
        motion: The tracked motion, from 0 s on.
        fps: Frames a second.
        first: Number of the picture that the motion begins with.
        crop: Left, top and side of the square that was tracked, pixels of the clip.
        focal: Focal length in pixels of the clip.
        take: What was made of it.
        tracked_before: Whether that is the avatar's own take.
    """

    video: Path
    motion: Motion
    fps: Fraction
    first: int
    crop: tuple[int, int, int]
    focal: float
    take: Take
    tracked_before: bool

    @property
    def seconds(self) -> float:
        """How long it is shown."""
        return float(self.motion.time[-1] - self.motion.time[0]) + float(1 / self.fps)

    @property
    def camera(self) -> Camera:
        """The camera of the square."""
        return Camera.front(self.focal, self.crop[2], self.crop[2])

    def head_area(self, row: int) -> Float[np.ndarray, "S S"]:
        """Where the square shows head and neck at a row of the motion, from 0 to 1."""
        area = (self.take.parts(row) == HEAD).astype(np.float32)
        return cv2.resize(area, (self.crop[2], self.crop[2]), interpolation=cv2.INTER_LINEAR)


def run(options: Dub) -> None:
    """Dubs the clip and says what was written."""
    device = chosen_device(options.device)
    check_video_name(options.output)
    check_outputs([options.output], {"--video": options.video, "--audio": options.audio})
    stored = load_avatar(options.avatar).on(device)
    probe(options.video)
    able, speech = able_speaker(stored), Speech(options.audio)
    spoken, _ = spoken_motion(stored, speech, fps=LIP_RATE, seed=0, pose="still", able=able)
    with tracked_footage(options.video, stored, options.avatar) as footage:
        rows = shown_rows(footage, frame_count(len(spoken) / float(LIP_RATE), footage.fps), options.beyond)
        motion = dubbed_motion(stored, footage, spoken, rows)
        written = write_dub(stored, footage, motion, rows, options)
    if (notes := [*able.notes, *speech.notes]) and options.json:
        written |= {"notes": notes}
    say(f"[bold]{escape(str(options.output))}[/bold] is ready.")
    show(written, as_json=options.json)


@contextmanager
def tracked_footage(video: Path, stored: StoredAvatar, avatar: Path) -> Iterator[Footage]:
    """The clip and its tracked motion, as long as it is needed; of the clip that the avatar was made from, its take.

    Raises:
        InputError: The clip cannot be read, or shows too little of a face or two equal ones.
    """
    if (avatar / "take" / "take.json").is_file():
        take = Take.open(avatar / "take")
        ingested = take.info.stages.get("ingest")
        single = ingested is not None and not ingested.detail.get("all_shots", False)
        if single and take.info.source_sha256 == sha256_of(video):
            yield _footage(video, take, tracked_before=True)
            return
    head = stored.gaussians.head
    head = head if head.lmk478_faces is not None else load_head().on(head.device)
    with tempfile.TemporaryDirectory(prefix="avatar-dub-") as folder:
        take = track_clip(video, Path(folder) / "take", head, size=TRACKED_SIDE)
        yield _footage(video, take, tracked_before=False)


def _footage(video: Path, take: Take, *, tracked_before: bool) -> Footage:
    info, shot = take.info, used_shot(take)
    assert info.crop is not None
    left, top, side = info.crop
    return Footage(
        video=video,
        motion=take.motion(),
        fps=Fraction(*info.fps),
        first=0 if shot is None else shot["frames"][0],
        crop=(left, top, side),
        focal=info.focal * side / info.width,
        take=take,
        tracked_before=tracked_before,
    )


def shown_rows(footage: Footage, count: int, beyond: Beyond = "bounce") -> Int[np.ndarray, " N"]:
    """Which row of the tracked motion each of the film's pictures shows; says what becomes of unequal lengths.

    Beyond its end a clip goes back and forth, slower where it turns around, or its last picture is held.
    """
    times = footage.motion.time - footage.motion.time[0]
    seconds, last = count / float(footage.fps), float(times[-1])
    places = np.arange(count) / float(footage.fps)
    if seconds > footage.seconds + WORTH_SAYING:
        held = beyond == "hold" or last <= 0
        becomes = "whose last picture is held while the lips go on" if held else "which goes back and forth"
        say(f"The new sound is {seconds - footage.seconds:.1f} s longer than the clip, {becomes}.")
        places = places if held else bounced(places, last)
    elif seconds < footage.seconds - WORTH_SAYING:
        say(f"The clip is {footage.seconds - seconds:.1f} s longer than the new sound and is cut to it.")
    after = np.searchsorted(times, places).clip(1, max(len(times) - 1, 1))
    nearer = places - times[after - 1] < times[after] - places
    return (after - nearer).astype(np.int64)


def dubbed_motion(stored: StoredAvatar, footage: Footage, spoken: Motion, rows: Int[np.ndarray, " N"]) -> Motion:
    """The tracked motion on the avatar with the new lips, one moment for each of the film's pictures."""
    head, betas = stored.head, stored.gaussians.betas
    motion, note = motion_on(footage.motion, head, betas=betas)
    if note:
        say(note)
    else:
        motion = on_footage(motion, head, betas=betas)
    times = np.arange(len(rows)) / float(footage.fps)
    shown = replace(motion, time=times, sound=None, **{name: getattr(motion, name)[rows] for name in PER_FRAME})
    return take_channels(shown, spoken.resample(times), FaceMap(head, betas.cpu().numpy()), ("mouth",))


def write_dub(
    stored: StoredAvatar, footage: Footage, motion: Motion, rows: Int[np.ndarray, " N"], options: Dub
) -> dict[str, Any]:
    """Writes the film; returns its figures."""
    info = probe(footage.video)
    sound = SoundFile(options.audio, SOUND_RATE, end=len(rows) / float(footage.fps))
    seams: list[tuple[float, float]] = []
    with (
        VideoWriter(
            options.output, fps=footage.fps, width=info.width, height=info.height, audio=(sound, SOUND_RATE)
        ) as writer,
        progress_bar(f"dub {options.output.name}") as progress,
        torch.no_grad(),
    ):
        alone = head_alone(stored.gaussians)
        left, top, side = footage.crop
        pictures = pictures_at(footage.video, footage.first + rows)
        square = np.s_[top : top + side, left : left + side]
        for done, (row, pose, picture) in enumerate(zip(rows, poses_of(alone, motion), pictures, strict=True), start=1):
            drawn = render_pose(alone, pose, footage.camera)
            dubbed = dub_picture(np.ascontiguousarray(picture[square]), drawn, footage.head_area(int(row)))
            picture[square] = dubbed.image
            writer.write(picture)
            seams.append((dubbed.seam, dubbed.seam_unmatched))
            progress(done, len(rows))
    return {
        "output": str(options.output),
        "frames": len(rows),
        "seconds": len(rows) / float(footage.fps),
        "width": info.width,
        "height": info.height,
        "clip_seconds": footage.seconds,
        "tracked_before": footage.tracked_before,
        "seam": _mean([seam for seam, _ in seams]),
        "seam_unmatched": _mean([unmatched for _, unmatched in seams]),
    }


def _mean(values: list[float]) -> float | None:
    """The mean of what is known, None where nothing is."""
    known = [value for value in values if np.isfinite(value)]
    return round(float(np.mean(known)), 2) if known else None
