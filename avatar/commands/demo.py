"""``avatar demo``: the whole pipeline on the embedded clip of a synthetic person."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import TYPE_CHECKING

from avatar.assets import asset
from avatar.commands._console import say, show
from avatar.commands._device import chosen_device
from avatar.commands._film import render_video
from avatar.commands._page import CONTACT, PAGE, open_page
from avatar.commands._preview import show_preview
from avatar.commands._take import TakeOptions
from avatar.commands.create import create
from avatar.commands.render import spoken_motion
from avatar.io.avatar import load_avatar
from avatar.memory import MemoryCap

if TYPE_CHECKING:
    from avatar.options import Demo

CLIP = "demo.mp4"


def run(options: Demo) -> None:
    """Makes an avatar of the embedded clip, lets it say the clip's own words, and turns the camera around it."""
    device, started = chosen_device(options.device), time.perf_counter()
    clip = asset(CLIP)
    say("An avatar of the embedded clip: a synthetic person, so that nobody's face is needed to try this.")
    how, memory = TakeOptions(device=device), MemoryCap.of(options.max_memory)
    consent = "synthetic person: no consent needed"
    report = create(clip, options.output, "standard", how=how, consent=consent, memory=memory)
    stored = load_avatar(options.output).on(device)
    fps = Fraction(*stored.info.fps)
    motion, sound = spoken_motion(stored, clip, fps=fps, seed=1, pose="natural")
    for name, camera in (("talk.mp4", "front"), ("orbit.mp4", "orbit")):
        render_video(stored, motion, options.output / name, fps=fps, sound=sound, camera=camera)
    minutes = (time.perf_counter() - started) / 60
    if not options.json:
        show_preview(options.output)
    say(f"Done in {minutes:.1f} minutes. Look at:")
    for name in ("talk.mp4", "orbit.mp4", PAGE, CONTACT):
        say(f"  {options.output / name}")
    say("Next, with your own clip: avatar create VIDEO.mp4 -o me && avatar render me --audio SPEECH.wav -o talk.mp4")
    if options.json:
        show(report, as_json=True)
    if options.open:
        open_page(options.output / PAGE)
