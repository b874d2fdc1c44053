"""Held-out evaluation: its figures can be had again from the pictures it writes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from avatar.errors import InputError
from avatar.fields.gaussian_head import GaussianHead
from avatar.io.take import Take
from avatar.train.evaluation import evaluate_held_out, head_region, held_out_frames
from avatar.train.report import comparison_sheet, orbit_sheet, write_report


def test_the_region_is_the_head_and_not_its_soft_edge(tiny_take: Take) -> None:
    region = head_region(tiny_take, 2)
    parts, mask = tiny_take.parts(2), tiny_take.mask(2)
    assert region.any() and (parts[region] == 1).all() and (mask[region] > 0.5).all()
    assert not region[parts == 2].any()


def test_frames_are_the_untouched_ones(tiny_take: Take, tiny_gaussians: GaussianHead) -> None:
    frames = list(held_out_frames(tiny_take, tiny_gaussians))
    assert [frame.index for frame in frames] == tiny_take.split()["test"].tolist()
    for frame in frames:
        assert np.array_equal(frame.truth, tiny_take.image(frame.index))
        assert np.abs(frame.render.astype(int) - frame.truth).max() <= 1


def test_pictures_give_the_figures_again(tiny_fit, tiny_take: Take, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    figures = evaluate_held_out(
        tiny_take, tiny_fit.gaussians, frames_folder=tmp_path / "frames", progress=lambda *row: steps.append(row)
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == [f"{i:05d}_{kind}.png" for i in (27, 28, 29) for kind in ("mask", "render", "truth")]
    values = []
    for index in (27, 28, 29):
        truth, render, mask = (
            cv2.imread(str(tmp_path / "frames" / f"{index:05d}_{kind}.png"), cv2.IMREAD_UNCHANGED)
            for kind in ("truth", "render", "mask")
        )
        assert truth is not None and render is not None and mask is not None
        error = (truth.astype(float) - render)[mask == 255] / 255
        values.append(-10 * np.log10((error**2).mean()))
    assert np.mean(values) == pytest.approx(figures["video_driven"]["psnr"], abs=1e-6)


def test_frames_without_a_head_are_left_out_and_counted(take_copy: Take, tiny_gaussians: GaussianHead) -> None:
    whole = evaluate_held_out(take_copy, tiny_gaussians)
    assert whole["frames"] == {"count": 3, "skipped": 0}
    nothing = np.zeros((80, 80), np.uint8)
    take_copy.write_parts(28, nothing)
    steps: list[tuple[int, int]] = []
    found = evaluate_held_out(take_copy, tiny_gaussians, progress=lambda *row: steps.append(row))
    assert found["frames"] == {"count": 2, "skipped": 1} and steps[-1] == (3, 3)
    assert all(np.isfinite(value) for row in found.values() for value in row.values())
    for index in (27, 29):
        take_copy.write_parts(index, nothing)
    with pytest.raises(InputError, match="No held-out frame"):
        evaluate_held_out(take_copy, tiny_gaussians)


def test_only_the_chosen_frames_are_rendered(tiny_take: Take, tiny_gaussians: GaussianHead) -> None:
    frames = held_out_frames(tiny_take, tiny_gaussians, indices=np.array([27, 29]))
    assert [frame.index for frame in frames] == [27, 29]


def test_the_report_is_one_page_with_pictures_and_escaped_names(
    tiny_fit, tiny_take: Take, tiny_gaussians: GaussianHead, tmp_path: Path
) -> None:
    figures = evaluate_held_out(tiny_take, tiny_fit.gaussians)
    sheet = comparison_sheet(tiny_take, tiny_fit.gaussians)
    views = orbit_sheet(tiny_take, tiny_gaussians, np.array([0.0, 0.0, -1.2]))
    assert sheet.shape == (240, 240, 3) and views.shape == (80, 400, 3)
    report = {
        "source": "<b>me & you</b>.mp4",
        "held_out": figures,
        "tracking": {"median_error": 1.25, "nested": {"no": 1}},
        "speech": {"driven": False, "note": "silent"},
        "avatar": {"gaussians": 2300},
        "stages": {"training": {"seconds": 2.0, "peak_rss_mb": 512.0}},
    }
    write_report(tmp_path / "report.html", report, {"held out": sheet, "orbit": views})
    page = (tmp_path / "report.html").read_text()
    assert "<b>me" not in page and "&lt;b&gt;me &amp; you" in page
    assert page.count("data:image/jpeg;base64,") == 2 and "://" not in page
    assert f"{figures['video_driven']['psnr']:.2f}" in page and "median error" in page and "nested" not in page
