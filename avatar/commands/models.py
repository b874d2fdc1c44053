"""``avatar models``: pretrained parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avatar.commands._console import progress_bar, show
from avatar.errors import PartError
from avatar.models import PARTS, fetch, parts, verify
from avatar.models.registry import part_named

if TYPE_CHECKING:
    from avatar.options import Models


def run(options: Models) -> None:
    """Lists, fetches or verifies parts; raises InputError where there is none of the name."""
    if options.name:
        part_named(options.name)
    if options.action == "fetch":
        for name in [options.name] if options.name else [n for n, part in PARTS.items() if part.required]:
            with progress_bar(name) as progress:
                fetch(name, progress=progress)
    if options.action == "verify":
        rows = verify(options.name)
        show(rows, as_json=options.json)
        damaged = [row.name for row in rows if row.status == "corrupt"]
        if damaged:
            raise PartError(
                f"Damaged in the cache: {', '.join(damaged)}", fix=f"fetch again with: avatar models fetch {damaged[0]}"
            )
        return
    show([row for row in parts() if options.name in (None, row.name)], as_json=options.json)
