"""The measure of an avatar's safe view cone: how far around it one may go and still see what its take showed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatar.fields.survey import depth_map, project, take_camera, triangle_normals
from avatar.render.flaws import view_flaws
from avatar.render.head_alone import head_alone
from avatar.render.playback import PosedAvatar
from avatar.render.rasterization import rasterize
from avatar.render.shots import head_centers
from avatar.render.trajectories import around, resized
from avatar.spread import evenly_spread
from avatar.view_cone import ViewCone

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.cameras import Camera
    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.io.take import Take

# Steps of the measure, and how far it goes to the sides and up and down, degrees.
STEP, FARTHEST_YAW, FARTHEST_PITCH = 5, 90, 60
FRAMES = 32
SIDE = 192
# From this cosine on a frame shows a triangle well enough to know its colour.
CLEAR = 0.2
# What a view may have more than that from the front: of the head what is guessed, as a share of what is seen of it;
# missing (holes and shortfall) and floaters, as shares of the bust's outline.
GUESSED, MISSING, FLOATERS = 0.1, 0.01, 0.005
# What is nearer to the camera than a triangle by more than this hides it, metres.
THICKNESS = 0.01


def clearest_views(take: Take, gaussians: GaussianHead) -> Float[np.ndarray, " F"]:
    """The largest cosine at which a training frame shows each triangle of head and torso; 0 for what none shows."""
    train = take.split()["train"]
    chosen = evenly_spread(train, FRAMES)
    faces = torch.cat([gaussians.head.faces, gaussians.torso_faces]).cpu().numpy()
    camera, best = take_camera(take), np.zeros(len(faces))
    for pose in gaussians.poses(take.motion()[chosen]):
        vertices = gaussians.vertices(pose).cpu().numpy()
        centroids, normals = vertices[faces].mean(1), triangle_normals(vertices, faces)
        lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(centroids, axis=1)
        cosines = -(normals * centroids).sum(1) / np.maximum(lengths, 1e-12)
        pixels, depths = project(centroids, camera)
        columns, rows = np.floor(pixels).astype(int).T
        inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height) & (cosines > 0)
        nearest = depth_map(vertices, faces[cosines > 0], camera)
        shown = np.flatnonzero(inside)
        shown = shown[depths[shown] < nearest[rows[shown], columns[shown]] + THICKNESS]
        best[shown] = np.maximum(best[shown], cosines[shown])
    return best


def guessed_share(head: GaussianHead, pose: Pose, camera: Camera, clearest: Float[np.ndarray, " F"]) -> float:
    """The share of what a camera sees of an avatar that no training frame shows well.

    Args:
        head: The Gaussians that are judged.
        pose: Their moment.
        camera: The camera.
        clearest: (F,) what `clearest_views` found.
    """
    world = PosedAvatar(head, pose).world
    guessed, viewmat, K = (
        torch.as_tensor(value, dtype=torch.float32, device=head.triangles.device)
        for value in (clearest < CLEAR, camera.viewmat, camera.K)
    )
    guessed = guessed[head.triangles]
    scene = (world.means, world.quats, world.scales, world.opacities, guessed[:, None].expand(-1, 3).contiguous())
    drawn = rasterize(*scene, viewmat, K, camera.width, camera.height)
    return float(drawn.image[..., 0].sum() / drawn.alpha.sum().clamp_min(1e-6))


def safe_view_cone(take: Take, gaussians: GaussianHead) -> ViewCone:
    """Goes around the avatar to four sides until too much of what is seen was never filmed, or it has flaws.

    Args:
        take: The take that the avatar was trained on.
        gaussians: The avatar.
    """
    motion = take.motion()[take.split()["train"]]
    turned = Rotation.from_rotvec(motion.global_orient) * Rotation.from_rotvec(motion.neck_pose)
    index = int(turned.magnitude().argmin())
    pose = gaussians.poses(motion[index : index + 1])[0]
    center, camera = head_centers(gaussians, [pose])[0], resized(take_camera(take), SIDE)
    clearest, alone = clearest_views(take, gaussians), head_alone(gaussians)
    x, y, z = turned[index].apply([0, 0, 1])
    ahead = np.degrees([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))])

    def view(yaw: float, pitch: float) -> Camera:
        return around(camera, center, yaw=ahead[0] + yaw, pitch=ahead[1] + pitch)

    def faults(yaw: float, pitch: float) -> np.ndarray:
        seen = view(yaw, pitch)
        flaws = view_flaws(gaussians, pose, seen)
        return np.array([guessed_share(alone, pose, seen, clearest), flaws.holes + flaws.shortfall, flaws.floaters])

    front = faults(0, 0)

    def holds(yaw: float, pitch: float) -> bool:
        return bool((faults(yaw, pitch) - front <= (GUESSED, MISSING, FLOATERS)).all())

    def end(yaw: float, pitch: float, farthest: float) -> float:
        angles = np.arange(STEP, farthest + 1, STEP)
        return next((float(angle - STEP) for angle in angles if not holds(angle * yaw, angle * pitch)), farthest)

    return ViewCone(
        yaw=(-end(-1, 0, FARTHEST_YAW), end(1, 0, FARTHEST_YAW)),
        pitch=(-end(0, -1, FARTHEST_PITCH), end(0, 1, FARTHEST_PITCH)),
    )
