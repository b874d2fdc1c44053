"""The options of every command, each a dataclass."""

from avatar.options.machine import Doctor, Heads, Models, Voices
from avatar.options.making import Create, Demo, Eval, Preprocess, Takes, Train
from avatar.options.showing import Dub, EditMotion, Export, Render, View

__all__ = [
    "Create",
    "Demo",
    "Doctor",
    "Dub",
    "EditMotion",
    "Eval",
    "Export",
    "Heads",
    "Models",
    "Preprocess",
    "Render",
    "Takes",
    "Train",
    "View",
    "Voices",
]
