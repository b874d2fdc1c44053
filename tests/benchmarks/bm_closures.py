"""Whether an avatar's lips close at p, b and m of recordings by other voices, and stay open in vowels.

    python tests/benchmarks/bm_closures.py AVATAR --sounds A.wav B.wav [--ear hama] [--json OUT]

The sounds are told by PocketSphinx, which knows English, or by hama (`pip install -e ".[hama]"`), which hears phones
of any language with an ear for English. Both guess, so that the figures of other languages than English are weak
evidence. A mouth counts as closed as `avatar eval` counts it, and as sealed below `SEALED` of the distance of the outer
eye corners.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from avatar.io.avatar import load_avatar
from avatar.io.sound import store_sound
from avatar.render.motions import SPEECH_RATE, spoken_motion
from avatar.speech.lips import closed_threshold, closure_counts, landmark_track
from avatar.speech.mouth import landmark_opening
from avatar.speech.phones import BILABIALS, VOWELS, Phone, spoken_phones

if TYPE_CHECKING:
    from jaxtyping import Float

FPS = 50.0
SEALED = 0.035
BARS = {"recall": 0.9, "false": 0.05}
IPA_BILABIALS, IPA_VOWELS = "pbm", "aeiouyøœɑæɐəɛɜɝɚɪɨɔʊʌɒʉɯɤ"


@dataclass(frozen=True)
class Options:
    """What is judged.

    Attributes:
        avatar: The avatar.
        sounds: Recordings of speech.
        ear: What tells their sounds: `pocketsphinx` for English, `hama` for any language.
        json: Write the figures there.
    """

    avatar: tyro.conf.Positional[Path]
    sounds: Annotated[tuple[Path, ...], tyro.conf.arg(help="Recordings of speech.")]
    ear: Literal["pocketsphinx", "hama"] = "pocketsphinx"
    json: Path | None = None


@dataclass(frozen=True)
class Closures:
    """How the lips met the sounds of a recording.

    Attributes:
        sound: Its name.
        bilabials: How many p, b and m were heard.
        vowels: How many vowels.
        recall: Share of the first at which the mouth closes; None without one.
        sealed: Share of them at which the lips meet.
        false: Share of the vowels in which the mouth closes; None without one.
    """

    sound: str
    bilabials: int
    vowels: int
    recall: float | None
    sealed: float | None
    false: float | None


def ipa_phones(samples: Float[np.ndarray, " N"]) -> list[Phone]:
    """What hama hears; one bilabial and one vowel of those that the measure knows stand for all."""
    from hama import ASRModel  # type: ignore[import-not-found]

    model = ASRModel()
    spans = model.phoneme_spans(model.transcribe_waveform(samples, SPEECH_RATE))
    names = dict.fromkeys(IPA_BILABIALS, BILABIALS[0]) | dict.fromkeys(IPA_VOWELS, VOWELS[0])
    return [Phone(names.get(span.phoneme[0], span.phoneme), span.start_ms / 1000, span.end_ms / 1000) for span in spans]


def judged(
    sound: str, time: Float[np.ndarray, " T"], opening: Float[np.ndarray, " T"], phones: list[Phone]
) -> Closures:
    """The closures of a mouth at the sounds of a recording."""
    closed = closure_counts(time, opening, phones=phones, threshold=closed_threshold(opening))
    sealed = closure_counts(time, opening, phones=phones, threshold=SEALED)
    bilabials, vowels = closed.hits + closed.misses, closed.vowels
    return Closures(
        sound,
        bilabials,
        vowels,
        recall=closed.hits / bilabials if bilabials else None,
        sealed=sealed.hits / bilabials if bilabials else None,
        false=closed.alarms / vowels if vowels else None,
    )


def main(options: Options) -> None:
    """Judges every recording, prints the table and writes the JSON that was asked for."""
    torch.set_num_threads(1)
    stored, rows = load_avatar(options.avatar), []
    for path in options.sounds:
        stored_sound, _ = store_sound(path, rate=SPEECH_RATE)
        with stored_sound as sound:
            samples = sound[:]
        motion = spoken_motion(stored, samples, fps=FPS, pose="still")
        opening = landmark_opening(landmark_track(stored.head, motion))
        phones = spoken_phones(samples) if options.ear == "pocketsphinx" else ipa_phones(samples)
        rows.append(judged(path.stem, motion.time, opening, phones))
    table = Table("sound", "p, b, m", "closed", "sealed", "vowels", "closed", title=f"{options.avatar}, {options.ear}")
    for row in rows:
        shares = ["" if share is None else f"{share:.2f}" for share in (row.recall, row.sealed, row.false)]
        table.add_row(row.sound, str(row.bilabials), *shares[:2], str(row.vowels), shares[2])
    Console(width=100).print(table)
    if options.json:
        result = {"ear": options.ear, "bars": BARS, "sounds": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
