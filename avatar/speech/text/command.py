"""Any text-to-speech program, called by a template such as ``mytts --text {text} --out {wav}``."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from avatar.errors import InputError
from avatar.io.audio import audio_blocks

PLACES = ("text", "file", "wav", "language", "voice")


def run_voice_command(template: str, text: str, wav: Path, *, language: str = "", voice: str = "") -> None:
    """Has a program say a text. No shell reads the template, so a text may hold anything.

    Args:
        template: The program and its arguments; ``{wav}`` is where it must write the sound. ``{text}`` is the text,
            ``{file}`` a file with it; without both the program reads the text from standard input. ``{language}`` and
            ``{voice}`` are what was asked for.
        text: What is said.
        wav: The sound file to be.
        language: For ``{language}``.
        voice: For ``{voice}``.

    Raises:
        InputError: The template is none, there is no such program, or it fails or writes no sound.
    """
    try:
        parts = shlex.split(template)
    except ValueError as error:
        raise _bad_template(f"{template!r}: {error}") from error
    named = re.findall(r"\{(\w*)\}", template)
    if not parts or "wav" not in named or any(name not in PLACES for name in named):
        raise _bad_template(repr(template))
    if shutil.which(parts[0]) is None:
        raise InputError(
            "The program of --voice-command is not there",
            expected="a program on this machine",
            found=parts[0],
            fix="install it, or give its full path",
        )
    written = wav.with_suffix(".txt")
    written.write_text(text, encoding="utf-8")
    values = {"text": text, "file": str(written), "wav": str(wav), "language": language, "voice": voice}
    # All at once, so that braces in the text are left alone.
    filled = [re.sub(r"\{(\w+)\}", lambda found: values[found[1]], part) for part in parts]
    typed = "" if {"text", "file"} & set(named) else text
    done = subprocess.run(filled, input=typed, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InputError(
            "The program of --voice-command failed",
            expected="exit code 0",
            found=f"code {done.returncode}" + (f": {said[-1]}" if said else ""),
            fix="run the command by itself to see what it needs",
        )
    if not wav.is_file() or not wav.stat().st_size:
        raise InputError(
            "The program of --voice-command wrote no sound",
            expected="a sound file at the place of {wav}",
            found="no file" if not wav.is_file() else "an empty file",
            fix="check which of its options names the output",
        )
    try:
        sounds = any(len(block) for block in audio_blocks(wav))
    except InputError as error:
        raise _no_sound(error.found) from error
    if not sounds:
        raise _no_sound("a file without sound")


def _no_sound(found: str) -> InputError:
    return InputError(
        "The program of --voice-command wrote something other than sound",
        expected="a sound file at the place of {wav}",
        found=found,
        fix="run the command by itself and listen to what it writes",
    )


def _bad_template(found: str) -> InputError:
    return InputError(
        "The option --voice-command cannot be used",
        expected="a program with {wav} for its output, and {text} or {file} for the text, as in "
        "'mytts --text {text} --out {wav}'",
        found=found,
        fix="correct the command",
    )
