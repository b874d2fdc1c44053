"""A motion is data: pure functions that cut, retime, mix, strengthen, colour and override it."""

from avatar.editing.arkit import motion_of, track_of
from avatar.editing.curves import Curve, curve_values, read_curves
from avatar.editing.emotions import Emotion, emotions, with_emotions
from avatar.editing.face import CHANNELS, Channel, FaceMap, take_channels
from avatar.editing.gaze import GazeKey, look
from avatar.editing.keys import Key, override, read_keys
from avatar.editing.mixing import gain, mix
from avatar.editing.timing import retime, shift, smooth, trim
from avatar.editing.transfer import neutral_of, transfer

__all__ = [
    "CHANNELS",
    "Channel",
    "Curve",
    "Emotion",
    "FaceMap",
    "GazeKey",
    "Key",
    "curve_values",
    "emotions",
    "gain",
    "look",
    "mix",
    "motion_of",
    "neutral_of",
    "override",
    "read_curves",
    "read_keys",
    "retime",
    "shift",
    "smooth",
    "take_channels",
    "track_of",
    "transfer",
    "trim",
    "with_emotions",
]
