"""A gate on speed that does not depend on the machine's mood: instructions of the AVX2 build, counted by valgrind.

    python tests/benchmarks/bm_instructions.py [--update]

Renders a head-like scene forward and backward, plain and riding on triangles, takes the loss and steps of Adam and
shows the image before a background, each once on one thread, and compares the instructions of each with the committed
counts in `instructions/baseline.json`. More than 10 % above them fails. The counts belong to the compiler that made
the library; with another one, up to 30 % is let pass. Where valgrind, a compiler or AVX2 is missing, it says so and
passes.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table

from avatar.render import _native
from avatar.render._signatures import SIGNATURES
from avatar.render._speed import TYPICAL_COUNT, TYPICAL_SIZE, HeadScene, head_scene

HERE = Path(__file__).parent / "instructions"
BASELINE = HERE / "baseline.json"
CSRC = Path(__file__).resolve().parents[2] / "render/csrc"
COUNTED = (
    "headsplat_render",
    "headsplat_render_backward",
    "headsplat_render_rigged",
    "headsplat_render_rigged_backward",
    "headsplat_l1_dssim",
    "headsplat_adam",
    "headsplat_adam_outer",
    "headsplat_compose",
)
COMPONENTS = 16  # as in driver.cpp
TOLERANCE, TOLERANCE_OF_OTHER_COMPILER = 0.10, 0.30

_TYPES = {
    ctypes.c_void_p: "void*",
    ctypes.c_char_p: "const char*",
    ctypes.c_int: "int",
    ctypes.c_int64: "int64_t",
    ctypes.c_float: "float",
    ctypes.c_double: "double",
    ctypes.POINTER(ctypes.c_double): "double*",
    None: "void",
}


@dataclass(frozen=True)
class Options:
    """What to do with the counts.

    Attributes:
        update: Write them as the new baseline and compare nothing.
    """

    update: bool = False


def reason_to_skip() -> str | None:
    """Why nothing can be counted here, or None."""
    if "avx2" not in _native.available_isas():
        return "there is no AVX2 build of the library that this processor runs"
    for tool in ("valgrind", compiler()):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    return None


def compiler() -> str:
    """The C++ compiler for the driver, which is not what is measured."""
    return os.environ.get("CXX", "c++").split()[0]


def compiler_of(library: Path) -> str:
    """The compiler that left its name in a library, such as "GCC 12.2"."""
    found = re.search(rb"(GCC): \([^)]*\) (\d+\.\d+)|(clang) version (\d+\.\d+)", library.read_bytes())
    return b" ".join(part for part in found.groups() if part).decode() if found else "unknown"


def write_signatures(path: Path) -> None:
    """The types of the library's functions in C++, from the table by which Python calls them."""
    lines = [
        f"using {name}_t = {_TYPES[result]}({', '.join(_TYPES[argument] for argument in arguments)});"
        for name, (arguments, result) in SIGNATURES.items()
        if all(kind in _TYPES for kind in (*arguments, result))
    ]
    path.write_text("\n".join(["#pragma once", "#include <cstdint>", *lines]) + "\n")


def write_scene(path: Path) -> None:
    """The arrays that driver.cpp reads, in its order."""
    scene = head_scene(TYPICAL_COUNT, TYPICAL_SIZE)
    g = torch.Generator().manual_seed(1)
    pictures = torch.randn(TYPICAL_SIZE, TYPICAL_SIZE, 3, generator=g), torch.rand(TYPICAL_SIZE**2 * 3, generator=g)
    tensors = [torch.tensor([float(TYPICAL_COUNT)]), *scene.gaussians, scene.viewmat, scene.K, *pictures]
    tensors += [*riding(scene), torch.randn(COMPONENTS, generator=g)]
    path.write_bytes(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors))


def riding(scene: HeadScene) -> list[torch.Tensor]:
    """The scene on triangles: the first corner of each is its Gaussian's centre, the others are the next two centres.

    Returns:
        Corners (N, 3) int32, barycentric (N, 3), rest sizes (N,), log-scales (N, 3), opacity logits (N,) and colour
        logits (N, 3).
    """
    count = len(scene.means)
    corners = (torch.arange(count)[:, None] + torch.arange(3)) % count
    first, second, third = scene.means[corners].unbind(1)
    edge, side = second - first, third - first
    length = edge.norm(dim=-1)
    sizes = (length + torch.linalg.cross(edge, side).norm(dim=-1) / length) / 2
    barycentric = torch.tensor([1.0, 0.0, 0.0]).repeat(count, 1)
    logits = scene.opacities.logit(), scene.colors.clamp(0.01, 0.99).logit()
    return [corners.int(), barycentric, sizes, scene.scales.log(), *logits]


def count_instructions() -> dict[str, int]:
    """Instructions of each function, with all that it calls."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_signatures(folder / "signatures.h")
        write_scene(folder / "scene.bin")
        build = [
            compiler(),
            "-std=c++17",
            "-O1",
            "-I",
            folder,
            "-I",
            CSRC,
            HERE / "driver.cpp",
            "-o",
            folder / "driver",
            "-ldl",
        ]
        subprocess.run(list(map(str, build)), check=True)
        counts = folder / "counts"
        counting = [
            "valgrind",
            "-q",
            "--tool=callgrind",
            f"--callgrind-out-file={counts}",
            "--toggle-collect=headsplat_*",
        ]
        driver = [folder / "driver", _native.library_path("avx2"), folder / "scene.bin", TYPICAL_SIZE]
        subprocess.run([*counting, *map(str, driver)], check=True)
        annotate = ["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(counts)]
        report = subprocess.run(annotate, check=True, capture_output=True, text=True).stdout
    lines = {function: re.search(rf"^ *([\d,]+) .*:{function} \[", report, re.MULTILINE) for function in COUNTED}
    missing = [function for function, line in lines.items() if line is None]
    if missing:
        raise SystemExit(f"callgrind counted no instructions of {', '.join(missing)}")
    return {function: int(line[1].replace(",", "")) for function, line in lines.items() if line}


def main(options: Options) -> None:
    """Counts, and compares with the baseline or replaces it."""
    console = Console(width=110)
    reason = reason_to_skip()
    if reason:
        console.print(f"instruction counts: skipped, because {reason}")
        return
    found_compiler, counts = compiler_of(_native.library_path("avx2")), count_instructions()
    if options.update:
        BASELINE.write_text(json.dumps({"compiler": found_compiler, "instructions": counts}, indent=1) + "\n")
        console.print(f"wrote {BASELINE}")
        return
    baseline = json.loads(BASELINE.read_text())
    same = baseline["compiler"] == found_compiler
    tolerance = TOLERANCE if same else TOLERANCE_OF_OTHER_COMPILER
    table = Table("function", "instructions", "baseline", "change", title=f"AVX2 build, one thread, {found_compiler}")
    worse = []
    for function, count in counts.items():
        expected = baseline["instructions"].get(function)
        if expected is None:
            raise SystemExit(f"{function} has no baseline: run this with --update")
        change = count / expected - 1
        worse += [function] if change > tolerance else []
        table.add_row(function, f"{count:,}", f"{expected:,}", f"{change:+.1%}")
    console.print(table)
    if not same:
        console.print(
            f"The baseline is of {baseline['compiler']}, so up to {tolerance:.0%} more is let pass instead of "
            f"{TOLERANCE:.0%}."
        )
    if worse:
        raise SystemExit(
            f"{', '.join(worse)}: more than {tolerance:.0%} above the baseline. Make it faster again; where the "
            "cost is meant, run this with --update and say why in the commit."
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
