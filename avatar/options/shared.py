"""Options that several commands take, each with the text of its help; the rest is documented where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

Positional = tyro.conf.Positional
Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]

AvatarPath = Annotated[Positional[Path], tyro.conf.arg(help="The avatar's folder or .avatar file.")]
Size = Annotated[int, tyro.conf.arg(help="Largest side of the square crop, pixels.")]
AllShots = Annotated[
    tyro.conf.FlagCreatePairsOff[bool],
    tyro.conf.arg(help="Use all shots of a clip with cuts, not the longest one alone."),
]
HeadName = Annotated[str, tyro.conf.arg(help="The head model: `open`, or one that `avatar heads list` names.")]
SpeechFeatures = Annotated[
    str | None,
    tyro.conf.arg(
        help="What speech is learned from: `whisper` (the default, a network of 75 MB), `log-mel` (needs no network), "
        "`hama`, or `transformers:MODEL`."
    ),
]
Preset = Annotated[Literal["fast", "standard", "quality"], tyro.conf.arg(help="Speed against fidelity.")]
Settings = Annotated[
    tuple[str, ...],
    tyro.conf.arg(help="Settings of training beside the preset's, each NAME=VALUE (docs/fidelity.md)."),
]
Consent = Annotated[str | None, tyro.conf.arg(help="Who is shown, and that they agree; kept in the avatar.")]
MaxMemory = Annotated[
    str | None,
    tyro.conf.arg(
        help="Most resident memory to take, such as 2G; where it is left out, nothing is enforced, and training keeps "
        "decoded frames in up to half of the free memory."
    ),
]
Force = Annotated[bool, tyro.conf.arg(help="Go on with a recording that the capture report advises against.")]
OpenReport = Annotated[bool, tyro.conf.arg(help="Open the report in the browser at the end.")]
Device = Annotated[
    Literal["cpu", "cuda", "auto"],
    tyro.conf.arg(
        help="Where to compute: `cpu`, `cuda` for an NVIDIA GPU (needs `pip install 'headsplat[gpu]'`), or `auto` for "
        "that where it works."
    ),
]
