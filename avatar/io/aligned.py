"""Which motion a take was tracked with, before an avatar of it aligned it further."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avatar.io.restart import start_of
from avatar.models.cache import sha256_of

if TYPE_CHECKING:
    from avatar.io.take import Take

ALIGNMENT = "alignment"


def tracked_motion(take: Take) -> str:
    """SHA-256 of the take's motion as it was tracked: the same however often it was aligned since.

    Training starts from that motion and then changes it, which must not look like another take to train on.
    """
    found = sha256_of(start_of(take, ALIGNMENT, "motion.npz"))
    record = _record(take)
    return record["tracked"] if found in record.get("aligned", ()) else found


def alignment_record(take: Take, tracked: str) -> dict[str, Any]:
    """What `tracked_motion` needs to know once an alignment has been written.

    Args:
        take: The take.
        tracked: Its `tracked_motion` before.
    """
    record = _record(take)
    earlier = record["aligned"] if record.get("tracked") == tracked else []
    return {"tracked": tracked, "aligned": [*earlier, sha256_of(take.path / "motion.npz")]}


def _record(take: Take) -> dict[str, Any]:
    stage = take.info.stages.get(ALIGNMENT)
    return stage.detail if stage else {}
