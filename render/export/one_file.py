"""The avatar itself in one file, to be kept or sent."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.cameras import Camera
from avatar.io.avatar import pack_avatar, save_avatar
from avatar.render.playback import render_over

if TYPE_CHECKING:
    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion


def export_one_file(stored: StoredAvatar, target: Path, *, moment: Motion, motion: Motion | None) -> None:
    """Writes a `.avatar` file; its preview shows the moment. Takes what every `Writer` does."""
    info, gaussians = stored.info, stored.gaussians
    front = Camera.front(info.focal, info.width, info.height)
    preview = render_over(gaussians, gaussians.poses(moment)[0], front, background=stored.plate / 255.0)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        content = {"speech": stored.speech, "life": stored.life, "plate": stored.plate, "preview": preview}
        save_avatar(Path(folder), info, gaussians, **content)
        pack_avatar(Path(folder), target)
