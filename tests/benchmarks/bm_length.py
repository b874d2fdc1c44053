"""Speech of any length: peak memory, and picture, sound and lips at the start and at the end, of ever longer films.

    python tests/benchmarks/bm_length.py [--avatar DIR] [--minutes 1 3 10] [--json OUT]

Each film is rendered by a process of its own, whose peak memory is the system's word. Its sound is noise that comes and
goes like syllables, so that every moment of it can be told from every other. Offsets are of what the film holds against
that sound, in milliseconds, positive where the film is late. Without --avatar the demo avatar is made first.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import tyro
from rich.console import Console
from rich.table import Table
from scipy.signal import correlate, sosfilt

RATE, WINDOW = 48_000, 8
RENDER = (
    "import sys, time; from avatar import cli; from avatar.io._files import peak_memory; start = time.perf_counter()\n"
    "cli.main(sys.argv[1:])\n"
    "sys.stderr.write(f'\\n{peak_memory()} {time.perf_counter() - start}')"
)


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        avatar: Folder of an avatar that can speak; the demo avatar is made when None.
        minutes: Lengths of the films.
        size: Their size in pixels.
        json: Write the measurements there.
    """

    avatar: Path | None = None
    minutes: tuple[float, ...] = (1.0, 3.0, 10.0)
    size: int = 64
    json: Path | None = None


@dataclass(frozen=True)
class Measurement:
    """One film: seconds of pictures and sound, offsets at both ends, peak memory and speed."""

    minutes: float
    video_seconds: float
    audio_seconds: float
    sound_start_ms: float
    sound_end_ms: float
    lips_start_ms: float
    lips_end_ms: float
    peak_mb: float
    frames_per_second: float


def write_syllables(path: Path, seconds: float) -> None:
    """Noise that opens and closes some four times a second and never repeats, written minute by minute."""
    rng = np.random.default_rng(0)
    # A one-pole low-pass at 0.2 of the band: speech has little above it.
    filter_ = np.array([[0.2, 0, 0, 1, -0.8, 0]])
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        left = round(seconds * RATE)
        while left > 0:
            lengths = rng.uniform(0.1, 0.25, 2)
            loud = np.hanning(round(lengths[0] * RATE)) * rng.uniform(0.4, 0.9)
            syllable = np.concatenate([loud, np.zeros(round(lengths[1] * RATE))])[:left]
            file.write(np.clip(sosfilt(filter_, rng.standard_normal(len(syllable))) * syllable, -1, 1))
            left -= len(syllable)


def lag_ms(said: np.ndarray, heard: np.ndarray, rate: float) -> float:
    """By how much the second signal is later than the first, milliseconds."""
    match = correlate(heard - heard.mean(), said - said.mean(), mode="full", method="fft")
    best = int(match.argmax())
    # A parabola through the best three finds what lies between two samples.
    before, top, after = match[best - 1 : best + 2]
    return float(1000 / rate * (best - len(said) + 1 + (before - after) / (2 * (before - 2 * top + after))))


def film_figures(film: Path, sound: Path) -> dict[str, float]:
    """Lengths of a film's tracks and the offset of its sound at both ends."""
    from avatar.io.audio import read_audio
    from avatar.io.video import read_frames

    times = [frame.time for frame in read_frames(film)]
    heard, (said, _) = read_audio(film, rate=RATE), soundfile.read(sound, dtype="float32")
    assert heard is not None
    window = min(WINDOW * RATE, len(said) // 2)
    tail = len(said) - window
    return {
        "video_seconds": times[-1] + (times[-1] - times[0]) / (len(times) - 1),
        "audio_seconds": len(heard) / RATE,
        "sound_start_ms": lag_ms(said[:window], heard[:window], RATE),
        "sound_end_ms": lag_ms(said[tail:], heard[tail : tail + window], RATE),
    }


def lip_figures(avatar: Path, sound: Path) -> dict[str, float]:
    """Offset of the jaw from the sound's loudness at both ends of the motion."""
    from avatar.commands.render import spoken_motion
    from avatar.io.avatar import load_avatar
    from avatar.io.sound import store_sound
    from avatar.speech.silence import loudness

    rate = 100
    motion, _ = spoken_motion(load_avatar(avatar), sound, fps=Fraction(25), seed=0, pose="still")
    with store_sound(sound, rate=16_000)[0] as stored:
        level = np.maximum(loudness(stored), -50)
    jaw = np.interp(np.arange(len(level)) / rate, motion.time, motion.jaw_pose[:, 0])
    window = min(30 * rate, len(level) // 2)
    ends = {"lips_start_ms": slice(0, window), "lips_end_ms": slice(len(level) - window, None)}
    return {name: lag_ms(level[part], jaw[part], rate) for name, part in ends.items()}


def measure(avatar: Path, minutes: float, *, size: int, folder: Path) -> Measurement:
    """Renders one film in a process of its own, and looks at it."""
    sound, film = folder / "sound.wav", folder / "film.mp4"
    write_syllables(sound, 60 * minutes)
    options = ["--audio", sound, "--size", size, "--fps", 25, "-o", film, "--pose", "natural"]
    command = [sys.executable, "-c", RENDER, "render", avatar, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    peak, seconds = map(float, done.stderr.split()[-2:])
    figures = film_figures(film, sound) | lip_figures(avatar, sound)
    return Measurement(minutes, **figures, peak_mb=peak, frames_per_second=60 * minutes * 25 / seconds)


def main(options: Options) -> None:
    """Measures, prints a table and writes the JSON that was asked for."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.avatar is None:
            from bm_play import make_demo_avatar

            options = Options(make_demo_avatar(folder / "demo"), options.minutes, options.size, options.json)
        assert options.avatar is not None
        rows = [measure(options.avatar, each, size=options.size, folder=folder) for each in options.minutes]
    titles = ("minutes", "video s", "audio s", "sound ms", "at the end", "lips ms", "at the end", "peak MB", "frames/s")
    table = Table(*titles)
    for row in rows:
        table.add_row(*(f"{value:.6g}" if value > 50 else f"{value:.2f}" for value in asdict(row).values()))
    Console(width=110).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": [asdict(row) for row in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
