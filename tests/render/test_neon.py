"""The build for 64-bit ARM, run by an emulator where a cross compiler and qemu are installed."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.render import _cpu
from avatar.render.losses import fused_l1_dssim

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=c++17", "-O2", "-ffp-contract=fast", "-fopenmp-simd", "-fno-math-errno", "-pthread", "-static"]


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The renderer of `render_scene.cpp`, compiled for ARM."""
    missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} (Debian: g++-aarch64-linux-gnu, qemu-user)")
    path = tmp_path_factory.mktemp("neon") / "render_scene"
    sources = [*sorted((ROOT / "render/csrc").glob("*.cpp")), Path(__file__).with_name("render_scene.cpp")]
    subprocess.run([COMPILER, *FLAGS, *map(str, sources), "-o", str(path)], check=True)
    return path


@pytest.mark.parametrize("channels", [3, 7])
def test_neon_agrees_with_this_machine(channels, program, random_scene):
    width, height, g = 70, 50, torch.Generator().manual_seed(17)
    scene = replace(random_scene(500, width, height, seed=16), colors=torch.rand(500, channels, generator=g))
    v_image, v_alpha = torch.randn(height, width, channels, generator=g), torch.randn(height, width, 1, generator=g)
    background = torch.linspace(0, 1, channels)
    leaves = scene.leaves()
    image, alpha, _ = _cpu.render(
        *(t[None] for t in (*leaves, scene.Ks, background)), width, height, 0.01, 0.3, 0.999, 1, ""
    )
    ((image[0] * v_image).sum() + (alpha[0] * v_alpha).sum()).backward()
    expected = [image[0].detach(), alpha[0].detach(), *(t.grad for t in leaves)]
    compared = (t.flatten()[: 3 * width * height].view(height, width, 3) for t in (v_image, expected[0]))
    expected.append(fused_l1_dssim(*compared, 0.2, 1, "")[1])

    sizes = torch.tensor([500, channels, width, height], dtype=torch.int32)
    tensors = [t.detach() for t in leaves] + [scene.Ks, background, v_image, v_alpha]
    data = b"".join(t.numpy().tobytes() for t in (sizes, *tensors))
    done = subprocess.run([EMULATOR, str(program)], input=data, capture_output=True, check=True)
    assert done.stderr == b"neon"
    values = torch.frombuffer(bytearray(done.stdout), dtype=torch.float32)
    for index, (got, want) in enumerate(
        zip(values.split([t.numel() for t in expected]), (t.flatten() for t in expected), strict=True)
    ):
        if index < 2:
            torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
        else:
            assert (got - want).norm() <= 1e-4 * want.norm()
