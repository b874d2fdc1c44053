"""How an avatar is filmed: camera, framing, background and eyes; and the film itself, picture by picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from avatar.cameras import Camera
from avatar.errors import InputError
from avatar.render._graphs import deformation
from avatar.render.camera_files import FOV_RANGE, FOV_TEXT, SIDES, read_camera_file
from avatar.render.clearance import is_inside
from avatar.render.compose import compose
from avatar.render.moving_background import MovingBackground, background_file
from avatar.render.playback import PosedAvatar, background_image, straight_alpha
from avatar.render.stereo import draw_stereo
from avatar.render.trajectories import camera_eye, dolly, follow, framed, orbit, resized, vertical_fov
from avatar.view_cone import view_angles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jaxtyping import Float, UInt8

    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion
    from avatar.options.showing import Beyond
    from avatar.render._outputs import Rendering
    from avatar.render.stereo import Stereo

# The largest picture of a film, both eyes together: side and pixels of H.264's level 6.2, such as 8192x4352. Beyond it
# players give up, and encoding takes tens of gigabytes.
LARGEST_SIDE, LARGEST_PICTURE = 16384, 139_264 * 256
POSES_AT_ONCE = 250
# From the middle of the eyes to that of the head, metres.
EYES_TO_CENTER = np.array([0.0, -0.03, -0.06])


@dataclass(frozen=True)
class Shot:
    """How an avatar is filmed.

    Attributes:
        camera: ``front`` (the recording's own), ``orbit``, ``dolly``, or the path of a camera file.
        look_at_face: Turn the camera to the face in every picture.
        fov: Vertical field of view in degrees; the camera's own when None.
        size: The longer side in pixels, or width and height (of one eye); the recording's, or the camera file's, when
            None.
        background: ``plate`` (the recording's own), ``transparent``, a colour's name, #rrggbb, or a video or picture
            file, which does not move with the camera.
        beyond: What such a video does where the film is longer: ``bounce``, it goes back and forth, or ``hold``, its
            last picture stays.
        stereo: Two eyes; None for one.
    """

    camera: str = "front"
    look_at_face: bool = False
    fov: float | None = None
    size: int | tuple[int, int] | None = None
    background: str = "plate"
    beyond: Beyond = "bounce"
    stereo: Stereo | None = None

    def __post_init__(self) -> None:
        sides = (self.size,) if isinstance(self.size, int) else self.size or ()
        if not all(SIDES[0] <= side <= SIDES[1] for side in sides):
            raise InputError(
                "The option --size cannot be used",
                expected=f"{SIDES[0]} to {SIDES[1]} pixels, or two such numbers as 1280x720",
                found="x".join(map(str, sides)),
                fix="leave it out for the recording's own",
            )
        if self.fov is not None and not FOV_RANGE[0] <= self.fov <= FOV_RANGE[1]:
            raise InputError(
                "The option --fov cannot be used",
                expected=FOV_TEXT,
                found=f"{self.fov:g}",
                fix="leave it out for the camera's own",
            )
        if self.fov is not None and self.stereo and self.stereo.layout == "180":
            raise InputError(
                "VR180 has no field of view to choose",
                expected="180 degrees",
                found=f"--fov {self.fov:g}",
                fix="leave --fov out, or move the camera nearer",
            )
        if self.stereo and background_file(self.background) is not None:
            raise InputError(
                "Footage has one eye and cannot be behind a film for two",
                expected="a colour or transparent as --background with --stereo",
                found=self.background,
                fix="choose another --background, or leave --stereo out",
            )


class Staged(NamedTuple):
    """A shot of one motion, worked out.

    Attributes:
        cameras: One for each moment; of two eyes what is between them.
        distances: (T,) of the head from the camera along its axis, metres.
        background: In [0, 1], of the size of a picture or one colour; footage; None for transparent pictures.
        angles: (T, 2) where the cameras stand around the head, as `view_angles` gives it.
    """

    cameras: list[Camera]
    distances: Float[np.ndarray, " T"]
    background: Float[np.ndarray, "#H #W 3"] | MovingBackground | None
    angles: Float[np.ndarray, "T 2"]


class Picture(NamedTuple):
    """One picture of a film.

    Attributes:
        image: sRGB bytes, with straight alpha where the background is transparent.
        rendering: Colours before the background, alpha, and the depth and normals that were asked for.
        camera: Where it was taken from.
    """

    image: UInt8[np.ndarray, "H W C"]
    rendering: Rendering
    camera: Camera


def stage(stored: StoredAvatar, motion: Motion, shot: Shot) -> Staged:
    """Works out cameras and background of a shot.

    Raises:
        InputError: The camera file or the background cannot be used, the pictures would be too large, or a camera
            stands inside the head.
    """
    info, gaussians = stored.info, stored.gaussians
    centers = head_centers(gaussians, poses_of(gaussians, motion))
    recorded = Camera.front(info.focal, info.width, info.height)
    view = _sized(recorded, shot.size) if shot.size else recorded
    times = motion.time - motion.time[0]
    cameras = _cameras(shot, view, centers, times)
    cameras = follow(cameras, centers, times) if shot.look_at_face else cameras
    if shot.fov is not None:
        cameras = [framed(camera, camera.width, camera.height, fov=shot.fov) for camera in cameras]
    _check_picture(cameras[0], shot.stereo)
    refuse_cameras_inside(gaussians, motion, cameras, centers, times)
    axes = np.stack([camera.viewmat[2] for camera in cameras])
    distances = (axes[:, :3] * centers).sum(1) + axes[:, 3]
    same = shot.camera == "front" and not (shot.look_at_face or shot.stereo)
    same = same and abs(vertical_fov(cameras[0]) - vertical_fov(recorded)) < 1e-6
    same = same and abs(cameras[0].width / cameras[0].height - info.width / info.height) < 0.01
    # From another side the recording's background would stand still behind a moving head: a plain colour does not lie.
    name = "gray" if shot.background == "plate" and not same else shot.background
    eyes = np.stack([camera_eye(camera) for camera in cameras])
    angles = view_angles(eyes, centers, motion.global_orient, motion.neck_pose)
    video, first = background_file(name), cameras[0]
    if video is None:
        background = background_image(name, stored.plate, first)
    else:
        background = MovingBackground(video, times, first.width, first.height, hold=shot.beyond == "hold")
    return Staged(cameras, distances, background, angles)


def film(
    gaussians: GaussianHead,
    motion: Motion,
    staged: Staged,
    *,
    stereo: Stereo | None = None,
    depth: bool = False,
    normal: bool = False,
    threads: int | None = None,
) -> Iterator[Picture]:
    """The pictures of a staged shot, one for each moment of the motion.

    Args:
        gaussians: The avatar.
        motion: The motion that was staged.
        staged: Cameras and background.
        stereo: Two eyes, as the shot has them.
        depth: Render depth too.
        normal: Render normals too.
        threads: Threads of the rasteriser; all processors when None.
    """
    deform = deformation(gaussians)
    layers = {"depth": depth, "normal": normal}
    behind = staged.background
    behind = behind.pictures() if isinstance(behind, MovingBackground) else repeat(behind, len(motion))
    moments = zip(poses_of(gaussians, motion), staged.cameras, staged.distances, behind, strict=True)
    for pose, camera, distance, background in moments:
        posed = PosedAvatar(deform, pose, threads=threads)
        if stereo:
            drawn = draw_stereo(posed, camera, stereo, distance=float(distance), **layers)
        else:
            drawn = posed.draw(camera, **layers)
        if background is None:
            yield Picture(straight_alpha(drawn.image, drawn.alpha), drawn, camera)
        else:
            yield Picture(compose(drawn.image, drawn.alpha, background, threads=threads), drawn, camera)


def poses_of(gaussians: GaussianHead, motion: Motion) -> Iterator[Pose]:
    """The motion's moments one after the other; only some of a long motion's are tensors at a time."""
    for first in range(0, len(motion), POSES_AT_ONCE):
        yield from gaussians.poses(motion[first : first + POSES_AT_ONCE])


def head_centers(gaussians: GaussianHead, poses: Iterable[Pose]) -> Float[np.ndarray, "T 3"]:
    """The middle of the head at each moment, metres."""
    head = gaussians.head
    balls = [np.arange(*head.parts[name]) for name in ("eye_l", "eye_r") if name in head.parts]
    centers = []
    for pose in poses:
        vertices = gaussians.vertices(pose)
        if balls:
            eyes = vertices[np.concatenate(balls)].mean(0)
        else:
            # A head model without eyeballs has its irises as landmarks all the same.
            shown = vertices[None, : len(head.v_template)]
            eyes = head.landmark_positions(shown)[0, 468:].mean(0)
        centers.append(eyes.cpu().numpy() + EYES_TO_CENTER)
    return np.stack(centers)


def refuse_cameras_inside(
    gaussians: GaussianHead, motion: Motion, cameras: list[Camera], centers: np.ndarray, times: np.ndarray
) -> None:
    """Raises InputError where a camera stands inside the head at its moment."""
    head = gaussians.head
    start, stop = head.parts.get("skin", (0, len(head.v_template)))
    faces = head.faces.cpu().numpy()
    faces = faces[((faces >= start) & (faces < stop)).all(1)] - start
    rest = head(betas=gaussians.betas[None])[0, start:stop]
    reach = float(torch.linalg.norm(rest - rest.mean(0), dim=1).max()) * 1.5
    for index, (camera, center, time) in enumerate(zip(cameras, centers, times, strict=True)):
        eye = camera_eye(camera)
        if np.linalg.norm(eye - center) > reach:
            continue
        pose = gaussians.poses(motion[index : index + 1])[0]
        if is_inside(eye, gaussians.vertices(pose)[start:stop].cpu().numpy(), faces):
            raise InputError(
                f"The camera is inside the head at {time:.2f} s",
                expected="a camera outside the head",
                found=f"a camera {100 * np.linalg.norm(eye - center):.0f} cm from the head's middle",
                fix="move the camera away from the head, or check where the motion puts the head",
            )


def _sized(camera: Camera, size: int | tuple[int, int]) -> Camera:
    return resized(camera, size) if isinstance(size, int) else framed(camera, *size)


def _cameras(shot: Shot, view: Camera, centers: np.ndarray, times: np.ndarray) -> list[Camera]:
    if shot.stereo and shot.stereo.layout == "180":
        side = max(view.width, view.height)
        view = framed(view, side, side)
    if shot.camera == "front":
        return [view] * len(times)
    if shot.camera in ("orbit", "dolly"):
        return (orbit if shot.camera == "orbit" else dolly)(view, centers[0], times)
    stored = read_camera_file(Path(shot.camera), view, centers[0])
    if stored.size and not shot.size:
        view = framed(view, *stored.size)
    elif stored.size and isinstance(shot.size, int):
        view = resized(framed(view, *stored.size), shot.size)
    return stored.path.cameras(times, view.width, view.height)


def _check_picture(camera: Camera, stereo: Stereo | None) -> None:
    columns, rows = (1, 1) if stereo is None else stereo.grid
    width, height = columns * camera.width, rows * camera.height
    if max(width, height) > LARGEST_SIDE or width * height > LARGEST_PICTURE:
        raise InputError(
            "The pictures would be too large" if stereo is None else "Both eyes together make too large a picture",
            expected=f"sides of up to {LARGEST_SIDE} pixels, and {LARGEST_PICTURE / 1e6:.0f} million pixels in all",
            found=f"{width}x{height}",
            fix="give a smaller --size" + ("" if stereo is None else ", which is that of one eye"),
        )
