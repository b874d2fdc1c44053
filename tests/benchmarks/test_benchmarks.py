"""The benchmarks run, and write what they promise."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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


def imported(name):
    """A benchmark as a module."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    bench = importlib.util.module_from_spec(spec)
    sys.modules[name] = bench
    spec.loader.exec_module(bench)
    return bench


def test_the_length_benchmark_measures_offsets(tmp_path):
    bench = imported("bm_length")
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


def test_the_closures_benchmark_tells_closed_from_sealed_and_hears_any_language(monkeypatch):
    bench = imported("bm_closures")
    spoken = [("b", 400), ("aʊ", 700), ("m", 1000), ("t͡ʃ", 1200), ("p", 1400), ("ɛ", 1700)]

    class Ear:
        def transcribe_waveform(self, waveform, rate):
            return len(waveform) / rate

        def phoneme_spans(self, seconds):
            assert seconds == 2
            return [SimpleNamespace(phoneme=name, start_ms=start, end_ms=start + 100) for name, start in spoken]

    monkeypatch.setitem(sys.modules, "hama", SimpleNamespace(ASRModel=Ear))
    phones = bench.ipa_phones(np.zeros(2 * bench.SPEECH_RATE, np.float32))
    assert [phone.name for phone in phones] == ["P", "AA", "P", "t͡ʃ", "P", "AA"]
    time = np.arange(100) / bench.FPS
    opening = np.full(100, 0.2)
    # Sealed at the first, nearly closed at the second and in the second vowel; open at the third.
    for second, gap in ((0.45, 0.01), (1.05, 0.05), (1.75, 0.05)):
        opening[np.abs(time - second) < 0.05] = gap
    found = bench.judged("a", time, opening, phones)
    assert (found.bilabials, found.vowels) == (3, 2)
    assert (found.recall, found.sealed, found.false) == pytest.approx((2 / 3, 1 / 3, 1 / 2))
    silent = bench.judged("b", time, opening, [])
    assert (silent.recall, silent.sealed, silent.false) == (None, None, None)


def test_the_closures_benchmark_judges_an_avatar(tiny_avatar, tmp_path, monkeypatch):
    bench = imported("bm_closures")
    noise = np.random.default_rng(0).standard_normal(bench.SPEECH_RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", 0.1 * noise, bench.SPEECH_RATE)
    monkeypatch.setattr(bench, "spoken_phones", lambda samples: [bench.Phone("B", 0.2, 0.3)])
    file = tmp_path / "rows.json"
    bench.main(bench.Options(tiny_avatar, (tmp_path / "a.wav",), json=file))
    (row,) = json.loads(file.read_text())["sounds"]
    assert (row["sound"], row["bilabials"], row["vowels"], row["false"]) == ("a", 1, 0, None)


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
