"""The benchmarks run, and write what they promise."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

FOLDER = Path(__file__).parent
COLUMNS = {"op", "n", "size", "threads", "isa", "ms", "baseline_ms", "ratio"}
SMALL = ("--counts", "300", "--sizes", "64", "--threads", "1")


@pytest.mark.parametrize(
    ("script", "options", "ops"),
    [
        ("bm_rasterize.py", SMALL, {"forward", "forward+backward", "loss"}),
        ("bm_train_step.py", ("--quick",), {"train step"}),
    ],
)
def test_benchmarks_write_rows_of_ratios(script, options, ops, tmp_path):
    file = tmp_path / "rows.json"
    command = [sys.executable, FOLDER / script, *options, "--rounds", "1", "--json", file]
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    assert all(set(row) == COLUMNS for row in result["rows"])
    assert {row["op"] for row in result["rows"]} == ops
    for row in result["rows"]:
        assert row["ratio"] == pytest.approx(row["baseline_ms"] / row["ms"])
        assert f"{row['ratio']:.2f}" in done.stdout


def test_the_length_benchmark_measures_offsets(tmp_path):
    spec = importlib.util.spec_from_file_location("bm_length", FOLDER / "bm_length.py")
    bench = importlib.util.module_from_spec(spec)
    sys.modules["bm_length"] = bench
    spec.loader.exec_module(bench)
    bench.write_syllables(tmp_path / "a.wav", 2.0)
    said, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert len(said) == 2 * rate and 0.05 < abs(said).max() < 1
    late = np.concatenate([np.zeros(480, np.float32), said[:-480]])
    assert bench.lag_ms(said, late, rate) == pytest.approx(10, abs=0.01)
    assert bench.lag_ms(late, said, rate) == pytest.approx(-10, abs=0.01)


def test_the_orbit_s_benchmark_compares_with_its_bar(tiny_avatar, tmp_path):
    file = tmp_path / "rows.json"
    command = [sys.executable, FOLDER / "bm_orbit.py", tiny_avatar, "--quick", "--json", file]
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    assert [row["yaw"] for row in result["rows"]] == [-40, -20, 0, 20, 40]
    assert all(0 <= row["holes"] + row["shortfall"] < 0.2 and row["floaters"] == 0 for row in result["rows"])
    assert "30 degrees" in done.stdout and ("met" in done.stdout or "MISSED" in done.stdout)


@pytest.mark.slow
@pytest.mark.usefixtures("perception_parts")
def test_the_tracker_s_benchmark_compares_with_bars(tmp_path):
    pytest.importorskip("embreex", reason="synthetic pictures need the dev extra")
    file, clips = tmp_path / "rows.json", tmp_path / "clips"
    small = ("--seed", "4", "--count", "1", "--seconds", "2.2", "--head-pixels", "110")
    command = [sys.executable, FOLDER / "bm_tracking.py", *small, "--clips", clips, "--json", file]
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    assert len(list(clips.iterdir())) == 1
    assert set(result["bars"]) <= set(result["median"]["refined"])
    for fit in ("landmarks", "refined"):
        assert result["median"][fit]["face_similarity_mm"] == result["clips"][0][fit]["face_similarity_mm"] < 6
        assert result["clips"][0][fit]["head_deg"] < 4
    assert all(
        ("met" in done.stdout or "MISSED" in done.stdout) and f"{bar:g}" in done.stdout
        for bar in result["bars"].values()
    )
