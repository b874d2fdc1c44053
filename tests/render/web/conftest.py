"""An avatar like those that `avatar create` makes, as a web folder, and what runs it: node, and Chromium by node."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatar.fields.condition import MotionCondition, motion_features
from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.heads import Head
from avatar.io.avatar import StoredAvatar, load_avatar
from avatar.motion import Motion
from avatar.render.export import FORMATS, export_avatar

GAUSSIANS, COMPONENTS, SOUND_RATE = 15_000, 16, 48_000
HERE = Path(__file__).parent
PLAYER = HERE.parents[2] / "render" / "web"
OLDEST_NODE = 20
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def web_avatar(
    tmp_path_factory: pytest.TempPathFactory,
    write_avatar: Callable[[Path, GaussianHead], Path],
    tiny_gaussians: GaussianHead,
    tiny_motion: Motion,
    open_head: Head,
) -> StoredAvatar:
    """15 000 Gaussians on the head and on a sheet below it, with 16 components of residuals."""
    generator = np.random.default_rng(1)
    across, down = np.meshgrid(np.linspace(-0.16, 0.16, 9), np.linspace(-0.13, -0.24, 5))
    sheet = np.stack([across, down, 0.02 - across**2], -1).reshape(-1, 3)
    cells = np.arange(36) // 8 * 9 + np.arange(36) % 8
    cells = cells[:32]
    start = len(open_head.v_template)
    faces = np.concatenate([cells[:, None] + [0, 9, 1], cells[:, None] + [1, 9, 10]]) + start
    on_torso = GAUSSIANS // 6
    head = generator.choice(len(tiny_gaussians), GAUSSIANS - on_torso)
    triangles = np.concatenate(
        [tiny_gaussians.triangles.numpy()[head], len(open_head.faces) + generator.integers(len(faces), size=on_torso)]
    )
    regions = np.repeat([REGIONS.index("skin"), REGIONS.index("torso")], [GAUSSIANS - on_torso, on_torso])
    result = GaussianHead(
        open_head,
        tiny_gaussians.betas,
        torch.as_tensor(sheet, dtype=torch.float32),
        torch.as_tensor(faces),
        MotionCondition.fit(motion_features(tiny_motion, open_head), COMPONENTS),
        triangles=torch.as_tensor(triangles),
        barycentric=torch.as_tensor(generator.dirichlet([1.5] * 3, GAUSSIANS), dtype=torch.float32),
        regions=torch.as_tensor(regions),
    )
    with torch.no_grad():
        result.offsets.copy_(torch.as_tensor(generator.normal(scale=4e-4, size=(GAUSSIANS, 3))))
        result.log_scales.copy_(torch.as_tensor(generator.normal(-6.2, 0.3, (GAUSSIANS, 3))))
        result.log_scales[-on_torso:] += 0.9
        result.quats.copy_(torch.as_tensor(generator.normal(size=(GAUSSIANS, 4))))
        result.opacity_logits.copy_(torch.as_tensor(generator.normal(3, 1.2, GAUSSIANS)))
        result.color_logits[:-on_torso] = tiny_gaussians.color_logits[torch.as_tensor(head)]
        result.color_logits[-on_torso:] = torch.tensor([-2.0, -1.0, 0.5])
        result.color_logits.add_(torch.as_tensor(generator.normal(scale=0.3, size=(GAUSSIANS, 3))))
        result.residuals.copy_(torch.as_tensor(generator.normal(scale=0.055, size=result.residuals.shape)))
    folder = write_avatar(tmp_path_factory.mktemp("web") / "avatar", result.requires_grad_(False))
    return load_avatar(folder)


@pytest.fixture(scope="session")
def web_sound(tiny_motion: Motion) -> np.ndarray:
    """Clicks half a second apart in a low hum, as long as the tiny motion."""
    time = np.arange(round(float(tiny_motion.time[-1]) * SOUND_RATE)) / SOUND_RATE
    click = np.exp(-((time % 0.5) / 0.004)) * np.sin(2 * np.pi * 1200 * time)
    return (0.6 * click + 0.02 * np.sin(2 * np.pi * 110 * time)).astype(np.float32)


@pytest.fixture(scope="session")
def web_folder(
    tmp_path_factory: pytest.TempPathFactory, web_avatar: StoredAvatar, web_sound: np.ndarray, tiny_motion: Motion
) -> Path:
    """The avatar's page with a motion and a sound; not to be changed."""
    folder = tmp_path_factory.mktemp("web") / "site" / "talk"
    export_avatar(web_avatar, folder, FORMATS["web"], motion=tiny_motion, sound=(web_sound, SOUND_RATE))
    return folder


@pytest.fixture(scope="session")
def run_node(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Runs a script of this folder with a job, a JSON file; gives the JSON that it writes."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt install nodejs")

    def run(script: str, job: dict[str, Any], *, timeout: float) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("node")
        (folder / "job.json").write_text(json.dumps({**job, "player": str(PLAYER), "output": str(folder)}))
        command = [node, HERE / script, folder / "job.json"]
        with (folder / "said.txt").open("w") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = f"not ended within {timeout} s"
        finally:
            # Asked to end, the script closes its browser; killed at once, it would leave it running.
            stop(process)
        assert code == 0, f"{code}: {(folder / 'said.txt').read_text()[-3000:]}"
        return json.loads((folder / "result.json").read_text())

    return run


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and what it started, if it has not ended."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, how)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


def require_tools(name: str) -> None:
    """Skips where the player's tools cannot run: they come by npm, and want node 20."""
    node = shutil.which("node")
    if node is None or not (PLAYER / "node_modules" / name).is_dir():
        pytest.skip("node or the player's tools are not installed: npm ci in render/web")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"the player's tools want node {OLDEST_NODE}: found {version.strip()}")


@pytest.fixture(scope="session")
def build_tools() -> None:
    """What builds the player."""
    require_tools("assemblyscript")


@pytest.fixture(scope="session")
def chromium() -> str:
    """A Chromium to run the page in."""
    require_tools("playwright-core")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("Chromium is not installed: apt install chromium")
    return found
