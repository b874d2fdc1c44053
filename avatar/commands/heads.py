"""``avatar heads``: the user's own head models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar.commands._console import progress_bar, say, show
from avatar.errors import InputError
from avatar.heads.layout import HeadLayout, read_head
from avatar.heads.library import HeadRow, check_name, head_path, heads, keep_head

if TYPE_CHECKING:
    from avatar.options import Heads


def run(options: Heads) -> None:
    """Imports a head, lists the heads, or tells about one."""
    if options.action == "list":
        show(heads(), as_json=options.json)
        return
    if options.action == "info":
        show(head_info(options.target or "open"), as_json=options.json)
        return
    if options.target is None:
        raise InputError(
            "There is nothing to import",
            expected="the path of a head model",
            fix="avatar heads import PATH, for example FLAME's generic_model.pkl or a clone of ICT-FaceKit",
        )
    path = import_head(Path(options.target), name=options.name, identities=options.identities)
    name = path.stem
    say(f"[bold]{name}[/bold] is ready in {path}")
    say(f"Next: avatar create VIDEO --head {name} -o me")
    show(head_info(name), as_json=options.json)


def import_head(path: Path, *, name: str | None = None, identities: int = 2) -> Path:
    """Converts a user's head model once and keeps it; returns where.

    Args:
        path: The model: a file or a folder.
        name: Name to keep it under; what it was recognised as where it is None.
        identities: Identities looked at for the landmarks, the first being the mean.

    Raises:
        InputError: There is no model, the name is taken, or no face is found on it.
        FormatError: The content is no head model, or asks for more than plain data.
    """
    from avatar.heads import load_head
    from avatar.heads.adapters import read_head_source
    from avatar.heads.adapters.completion import complete, provisional
    from avatar.heads.adapters.landmarks import embed_by_detection
    from avatar.preprocess.landmarks import FaceLandmarker

    if name is not None:
        check_name(name)
    if identities < 1:
        raise InputError("The option --identities cannot be used", expected="1 or more", found=str(identities))
    with progress_bar("read the model") as progress:
        source = read_head_source(path, progress=progress)
    own = isinstance(source, HeadLayout)
    say(f"{path} is {f'a head in our layout, {source.id}' if own else source.recognised}")
    reference = load_head()
    layout = (
        replace(source, id=name or source.id)
        if own
        else provisional(source, name=check_name(name or source.name), reference=reference)
    )
    check_name(layout.id)
    if layout.lmk478 is None:
        landmarker = FaceLandmarker()

        def detect(image: Any) -> Any:
            landmarker.reset()
            found = landmarker.track(image)
            return None if found is None else found.landmarks[:, :2]

        with progress_bar("find its landmarks") as progress:
            layout = embed_by_detection(layout, reference, detect=detect, identities=identities, progress=progress)
    if not own:
        layout = complete(layout, source, reference)
    return keep_head(layout)


def head_info(name: str) -> dict[str, Any]:
    """What a head is and how well it converts: relative errors of the ARKit actions, spreads of the landmarks."""
    path = head_path(name)
    layout = read_head(path)
    figures = {key: round(value, 4) for key, value in layout.quality.items() if key not in layout.arkit_names}
    actions = {key: round(layout.quality[key], 4) for key in layout.arkit_names if key in layout.quality}
    row = HeadRow.of(name, layout, path)
    return {
        "name": row.name,
        "id": layout.id,
        "content": layout.hash,
        "path": row.path,
        "licence": layout.licence,
        "source": layout.source,
        "vertices": row.vertices,
        "triangles": len(layout.f),
        "identity": row.identity,
        "expressions": row.expressions,
        "parts": list(layout.parts),
        "landmarks": layout.lmk478 is not None,
        "jaw_open_angle": layout.jaw_open_angle,
        "fit": figures,
        "arkit_relative_error": actions or dict.fromkeys(layout.arkit_names, 0.0),
    }
