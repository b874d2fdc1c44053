"""A mesh as a Wavefront OBJ, with a group for each part and the vertices' colours behind their positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int


def write_obj(
    path: Path,
    vertices: Float[np.ndarray, "V 3"],
    parts: dict[str, Int[np.ndarray, "F 3"]],
    *,
    uv: Float[np.ndarray, "V 2"],
    normals: Float[np.ndarray, "V 3"],
    colors: Float[np.ndarray, "V 3"],
    comment: str,
) -> None:
    """Writes the mesh in metres, +y up.

    Args:
        path: The file.
        vertices: Positions, metres.
        parts: Triangles of each group, by name.
        uv: Texture coordinates, v upwards.
        normals: Unit vectors.
        colors: sRGB in [0, 1].
        comment: What to note.
    """
    lines = [f"# {comment}"]
    lines += ["v {:.6f} {:.6f} {:.6f} {:.4f} {:.4f} {:.4f}".format(*row) for row in np.hstack([vertices, colors])]
    lines += ["vt {:.6f} {:.6f}".format(*row) for row in uv]
    lines += ["vn {:.4f} {:.4f} {:.4f}".format(*row) for row in normals]
    for name, faces in parts.items():
        lines.append(f"g {name}")
        lines += ["f " + " ".join(f"{i}/{i}/{i}" for i in row) for row in (faces + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")
