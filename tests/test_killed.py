"""A run that is killed again and again ends with the result of one that was left alone."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from avatar.assets import asset
from avatar.io.audio import read_audio
from avatar.io.take import Take
from avatar.io.video import VideoWriter, probe, read_frames

SECONDS = 2
# `avatar create` with little work in every stage, killed right before or after a certain file gets its name.
DRIVER = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from avatar import cli
from avatar.preprocess import photometric
from avatar.preprocess.refinement_config import FINE, RefinementConfig
from avatar.fields.sampling import Sampling
from avatar.train import config

when, name, count = sys.argv[1].split()
command = sys.argv[2:]
config.PRESETS["fast"] = config.TrainConfig(
    gaussians=800, torso_gaussians=200, components=4, steps=40, draft_share=0.5, residual_start=10, checkpoint_every=15,
    even_exposure=0.0, exposure_start=12, close_pinholes=False,
)
sampling = Sampling(gaussians=800, torso_gaussians=200, components=4, closed=False)
level = replace(FINE, side=64, sampling=sampling, first_steps=20, later_steps=10, rounds=1)
photometric.RefinementConfig = lambda: RefinementConfig(levels=(level,), key_frames=2)
move, seen = Path.replace, 0

def moved(self, target):
    global seen
    hit = Path(target).name == name
    seen += hit
    if hit and seen == int(count) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = move(self, target)
    if hit and seen == int(count) and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result

Path.replace = moved
cli.main(command)
"""
# Each goes on where the one before was killed.
MOMENTS = (
    "before 00030.png 1",  # ingest, in the middle of its pictures
    "after motion.npz 1",  # tracking, between its two files
    "after motion.npz 4",  # refinement, between its two files, after tracking, shoulders and detail
    "after tracking.npz 2",  # refinement once more: restored, done, not recorded
    "after checkpoint.safetensors 2",  # the draft
    "after motion.npz 2",  # the second alignment, between its two files
    "after weights.safetensors 1",  # the avatar, between its files
)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds of the embedded clip."""
    source, path = asset("demo.mp4"), tmp_path / "clip.mp4"
    info, sound = probe(source), read_audio(source)
    assert sound is not None
    size = {"fps": Fraction(info.fps), "width": info.width, "height": info.height}
    with VideoWriter(path, audio=(sound[: SECONDS * 16000], 16000), **size) as video:
        for frame in islice(read_frames(source), round(SECONDS * info.fps)):
            video.write(frame.image)
    return path


def create(clip: Path, output: Path, moment: str) -> int:
    """Runs `avatar create` in a process of its own; its exit code, -9 where it was killed."""
    command = ["create", str(clip), "-o", str(output), "--preset", "fast", "--size", "96", "--force"]
    run = subprocess.run([sys.executable, "-c", DRIVER, moment, *command], capture_output=True, text=True, check=False)
    assert run.returncode in (0, -9), run.stderr
    return run.returncode


@pytest.mark.slow
@pytest.mark.usefixtures("perception_parts", "speech_part")
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_killed_at_every_stage_ends_with_the_same_bits(clip: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with ThreadPoolExecutor(1) as beside:
        alone = beside.submit(create, clip, whole, "before nothing 1")
        for moment in MOMENTS:
            assert create(clip, killed, moment) == -9, moment
        assert create(clip, killed, "before nothing 1") == 0
        assert alone.result() == 0

    for name in ("motion.npz", "tracking.npz", "perception.npz", "frames.npz"):
        one, other = (np.load(folder / "take" / name) for folder in (whole, killed))
        assert one.files == other.files
        assert all(np.array_equal(one[key], other[key], equal_nan=one[key].dtype.kind == "f") for key in one.files), (
            name
        )
    one, other = (load_file(folder / "weights.safetensors") for folder in (whole, killed))
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    one, other = (json.loads((folder / "report.json").read_text()) for folder in (whole, killed))
    assert one["held_out"] == other["held_out"]
    assert list(one["stages"]) == list(other["stages"])
    left = sorted(path.name for path in killed.rglob("*") if "partial" in path.name or path.name.startswith(".before"))
    assert left == []
    assert len(list((killed / "take" / "images").iterdir())) == len(Take.open(killed / "take"))
