"""Films an avatar from anywhere: a camera through three key-frames, its depth, and the same for two eyes.

usage: python examples/02_free_view.py AVATAR_FOLDER MOTION.npz OUT_FOLDER
"""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from avatar.io.avatar import load_avatar
from avatar.io.picture_folder import PictureFolder
from avatar.io.video import VideoWriter
from avatar.motion import Motion
from avatar.render.camera_files import write_camera_file
from avatar.render.layers import DEPTH_UNIT, depth_steps
from avatar.render.shots import Shot, film, head_centers, stage
from avatar.render.stereo import Stereo
from avatar.render.trajectories import CameraPath

folder, motion_file, output = map(Path, sys.argv[1:4])
stored = load_avatar(folder)
rate = 10
motion = Motion.load(motion_file)
motion = motion.resample(np.arange(motion.time[0], min(motion.time[-1], motion.time[0] + 2), 1 / rate))

# A path through key-frames around the head, metres in the recording camera's space: +y is up, +z towards the camera.
center = head_centers(stored.gaussians, stored.gaussians.poses(motion[:1]))[0]
places = center + np.array([[-0.35, 0.0, 0.45], [0.0, 0.1, 0.6], [0.35, 0.0, 0.45]])
path = CameraPath(
    time=np.array([0.0, 1.0, 2.0]),
    eye=places,
    target=np.tile(center, (3, 1)),
    up=np.tile([0.0, 1.0, 0.0], (3, 1)),
    fov=np.array([35.0, 25.0, 35.0]),
)
cameras = path.cameras(motion.time - motion.time[0], 320, 240)
output.mkdir(parents=True, exist_ok=True)
write_camera_file(output / "camera_path.json", cameras, fps=rate)

# The file is what `avatar render --camera` takes; here it gives the film, and depth in tenths of a millimetre.
shot = Shot(camera=str(output / "camera_path.json"), background="#304050")
with (
    VideoWriter(output / "film.mp4", fps=Fraction(rate), width=320, height=240) as video,
    PictureFolder(output / "depth", fps=Fraction(rate), facts={"depth_unit_scale_factor": DEPTH_UNIT}) as depth,
):
    for picture in film(stored.gaussians, motion, stage(stored, motion, shot), depth=True):
        video.write(picture.image)
        depth.write(depth_steps(picture.rendering))

# Two eyes, side by side.
pair = Shot(camera=shot.camera, background=shot.background, stereo=Stereo("sbs", ipd=0.063))
with VideoWriter(output / "stereo.mp4", fps=Fraction(rate), width=640, height=240, stereo="sbs") as video:
    for picture in film(stored.gaussians, motion, stage(stored, motion, pair), stereo=pair.stereo):
        video.write(picture.image)
