"""Renders an avatar's tracked first frame from five sides into one picture.

usage: python examples/01_turntable.py AVATAR_FOLDER TAKE_FOLDER OUT.png
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from avatar.cameras import Camera
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.render.playback import render_over
from avatar.render.trajectories import ORBIT_SECONDS, orbit

folder, take, output = map(Path, sys.argv[1:4])
stored = load_avatar(folder)
motion = Take.open(take).motion()[:1]

info = stored.info
camera = Camera.front(info.focal, info.width, info.height)
pose = stored.gaussians.poses(motion)[0]
center = stored.gaussians.vertices(pose).numpy()[: stored.gaussians.head.parts["skin"][1]].mean(0)

# A quarter of a swing to either side.
times = np.linspace(-ORBIT_SECONDS / 4, ORBIT_SECONDS / 4, 5)
background = np.full((1, 1, 3), 0.5, np.float32)
views = [render_over(stored.gaussians, pose, view, background=background) for view in orbit(camera, center, times)]
cv2.imwrite(str(output), np.concatenate(views, axis=1)[..., ::-1])
