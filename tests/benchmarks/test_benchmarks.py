"""The benchmarks run, and write what they promise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
