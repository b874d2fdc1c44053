"""``avatar view``: the avatar in the browser, until Ctrl-C."""

from __future__ import annotations

import signal
import tempfile
import textwrap
import webbrowser
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.commands._console import say
from avatar.commands._device import chosen_device
from avatar.commands._speech import Speech, say_text
from avatar.commands.render import filed_motion, spoken_motion
from avatar.errors import InputError
from avatar.heads.retarget import motion_on
from avatar.io.audio import require_audio
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.render.motions import SPEECH_RATE, idle_motion
from avatar.render.viewer import Programme, Viewer, ViewerSettings
from avatar.render.viewer.sound import RATE
from avatar.render.viewer.state import SIDES

if TYPE_CHECKING:
    from avatar.io.avatar import StoredAvatar
    from avatar.options import View

LOOPBACK = ("127.0.0.1", "localhost", "::1")
IDLE_RATE = 25.0
NAME_LENGTH = 60


def run(options: View) -> None:
    """Opens the viewer and says where it is; ends without a word of trouble at Ctrl-C."""
    if not SIDES[0] <= options.size <= SIDES[1]:
        raise InputError(
            "The option --size cannot be used",
            expected=f"{SIDES[0]} to {SIDES[1]} pixels",
            found=str(options.size),
            fix="leave it out for 512",
        )
    stored = load_avatar(options.avatar).on(chosen_device(options.device))
    programme = chosen_programme(options, stored)

    def speak(said: Path | str) -> Programme:
        if isinstance(said, Path):
            return spoken_programme(stored, said)
        return text_programme(stored, said, voice=options.voice, language=options.language)

    settings = ViewerSettings(options.host, options.port, options.draw, options.size, beside=options.take is not None)
    viewer = Viewer(stored, programme, settings, speak=speak)
    try:
        # A service manager that ends the viewer wants the same clean end.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        listening = viewer.listen(livelink=options.livelink, websocket=options.websocket)
        udp, tcp = listening.ports
        if udp is not None:
            alone = ", from this machine alone: a phone needs --host 0.0.0.0" if options.host in LOOPBACK else ""
            say(f"Live Link Face is heard at UDP port {udp}{alone}.")
        if tcp is not None:
            say(f"ARKit coefficients are heard at ws://{options.host}:{tcp}.")
        say(f"The avatar is at [bold]{viewer.address}[/bold] (Ctrl-C closes it).")
        if options.open:
            webbrowser.open(viewer.address)
        viewer.run()
    except KeyboardInterrupt:
        say("Closed.")
    finally:
        viewer.stop()


def chosen_programme(options: View, stored: StoredAvatar) -> Programme:
    """What the options want played: speech, a motion, a take, or the person listening."""
    if options.audio and options.motion:
        raise InputError(
            "What drives the avatar is not clear",
            expected="one of --audio FILE and --motion FILE",
            found="both",
            fix="give one of the two",
        )
    fps = Fraction(*stored.info.fps)
    if options.audio:
        return spoken_programme(stored, options.audio)
    if options.motion:
        return Programme(options.motion.name, filed_motion(options.motion, fps=fps, stored=stored))
    inside = options.avatar / "take"
    if options.take or (inside / "take.json").is_file():
        return taken_programme(stored, Take.open(options.take or inside))
    return idle_programme(stored)


def spoken_programme(stored: StoredAvatar, speech: Speech | Path, name: str = "") -> Programme:
    """The avatar saying a sound file."""
    speech = speech if isinstance(speech, Speech) else Speech(speech)
    motion, _ = spoken_motion(stored, speech, fps=Fraction(*stored.info.fps), seed=0, pose="natural")
    # The browser gets all of the sound at once, at a rate that is enough for speech.
    return Programme(name or speech.path.name, motion, (require_audio(speech.path, rate=RATE), RATE))


def text_programme(stored: StoredAvatar, text: str, *, voice: str | None, language: str | None) -> Programme:
    """The avatar saying a text."""
    with tempfile.TemporaryDirectory(prefix="avatar-voice-") as folder:
        speech = say_text(text, Path(folder) / "speech.wav", voice=voice, language=language)
        name = textwrap.shorten(text, NAME_LENGTH, placeholder=" …")
        return spoken_programme(stored, speech, f"“{name}”")


def taken_programme(stored: StoredAvatar, take: Take) -> Programme:
    """The motion of a take, with its sound and its pictures."""
    motion, note = motion_on(take.motion(), stored.head, betas=stored.gaussians.betas)
    if note:
        say(note)
    samples = take.speech() if (take.path / "speech.wav").is_file() else None
    if samples is not None:
        # The take's sound starts with its first picture, the programme with the motion's first moment.
        samples = samples[round(float(motion.time[0] - take.times[0]) * SPEECH_RATE) :]
    name = take.info.source_name or take.path.name
    return Programme(name, motion, None if samples is None else (samples, SPEECH_RATE), take)


def idle_programme(stored: StoredAvatar) -> Programme:
    """The person listening, over and over."""
    return Programme("Looking about", idle_motion(stored, fps=IDLE_RATE))
