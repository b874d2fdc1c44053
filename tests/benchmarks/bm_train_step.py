"""A training step at 15k Gaussians: fused loss and fused Adam against torch's SSIM and torch's Adam.

    python tests/benchmarks/bm_train_step.py [--json FILE] [--rounds 5] [--quick] [--device cuda]

Both render with the same backend, so the ratio is what the fused loss and the fused Adam are worth.
"""

from __future__ import annotations

import torch
import tyro
from _measure import Options, Row, Variant, compare, prepare, report, torch_l1_dssim

from avatar.render._speed import LEARNING_RATE, TYPICAL_COUNT, head_scene, make_training_step


def measure_step(count: int, size: int, *, threads: int, options: Options) -> list[Row]:
    """The step as a trainer takes it, beside the same step with torch's loss and optimiser."""
    scene = head_scene(count, size, device=options.device)
    plain = make_training_step(
        scene,
        loss=torch_l1_dssim,
        optimizer=lambda leaves: torch.optim.Adam(leaves, lr=LEARNING_RATE, eps=1e-15),
        threads=threads,
    )
    fused = make_training_step(scene, threads=threads)
    baseline, variant = Variant("torch loss, Adam", threads, plain), Variant("fused", threads, fused)
    return compare("train step", count, size, baseline=baseline, variants=[variant], options=options)


def main(options: Options) -> None:
    """Measures both sizes on one and two threads."""
    prepare(options)
    rows: list[Row] = []
    for size in (256,) if options.quick else (256, 512):
        for threads in (1,) if options.device == "cuda" else (1, 2):
            rows += measure_step(TYPICAL_COUNT, size, threads=threads, options=options)
    report("training step, against torch's loss and Adam", rows, options)


if __name__ == "__main__":
    main(tyro.cli(Options))
