"""A glTF 2.0 binary: arrays in, one ``.glb`` out (Khronos, "glTF 2.0 Specification", sections 3.6 and 4)."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Shaped

COMPONENT_TYPES = {"f4": 5126, "u4": 5125, "u2": 5123, "u1": 5121}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
# A target that moves fewer vertices than this share is stored as a list of what moves.
SPARSE_SHARE = 0.5
# What moves less, in metres, is noise of half-precision directions.
STILL = 2e-6


class GlbBuilder:
    """Collects a glTF's arrays and its JSON.

    Attributes:
        json: The document; its buffers, views and accessors are kept by the builder.
    """

    def __init__(self, generator: str, *, copyright: str = "") -> None:
        asset = {"version": "2.0", "generator": generator} | ({"copyright": copyright} if copyright else {})
        self.json: dict[str, Any] = {"asset": asset}
        self._accessors: list[dict[str, Any]] = []
        self._views: list[dict[str, Any]] = []
        self._bytes = bytearray()

    def accessor(
        self, values: Shaped[np.ndarray, "n ..."], *, bounds: bool = False, normalized: bool = False, target: int | None
    ) -> int:
        """Adds an array and returns its accessor's index.

        Args:
            values: Little-endian numbers; one row an element.
            bounds: Whether to state the smallest and the largest value, which positions and times need.
            normalized: Whether integers stand for fractions.
            target: ``ARRAY_BUFFER`` for vertices, ``ELEMENT_ARRAY_BUFFER`` for indices, None for the rest.
        """
        entry = self._described(values, bounds=bounds) | {"bufferView": self._view(values, target)}
        if normalized:
            entry["normalized"] = True
        self._accessors.append(entry)
        return len(self._accessors) - 1

    def moved(self, displacements: Float[np.ndarray, "n 3"]) -> int:
        """Adds the displacements of a morph target, those that are zero left out where that is smaller."""
        far = np.abs(displacements).max(axis=1) > STILL
        displacements = np.where(far[:, None], displacements, 0).astype("<f4")
        indices = np.flatnonzero(far)
        if len(indices) > SPARSE_SHARE * len(displacements):
            return self.accessor(displacements, bounds=True, target=ARRAY_BUFFER)
        entry = self._described(displacements, bounds=True)
        if len(indices):
            entry["sparse"] = {
                "count": len(indices),
                "indices": {"bufferView": self._view(indices.astype("<u4"), None), "componentType": 5125},
                "values": {"bufferView": self._view(displacements[indices], None)},
            }
        self._accessors.append(entry)
        return len(self._accessors) - 1

    def write(self, path: Path) -> None:
        """Writes the file."""
        buffers = {"buffers": [{"byteLength": len(self._bytes)}], "bufferViews": self._views}
        document = self.json | {"accessors": self._accessors} | buffers
        text = json.dumps(document, separators=(",", ":")).encode()
        chunks = ((b"JSON", text + b" " * (-len(text) % 4)), (b"BIN\0", bytes(self._bytes)))
        body = b"".join(struct.pack("<I4s", len(data), kind) + data for kind, data in chunks)
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)

    def _described(self, values: np.ndarray, *, bounds: bool) -> dict[str, Any]:
        rows = values.reshape(len(values), -1)
        entry: dict[str, Any] = {
            "componentType": COMPONENT_TYPES[values.dtype.str[1:]],
            "count": len(rows),
            "type": KINDS[rows.shape[1]],
        }
        if bounds:
            entry |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        return entry

    def _view(self, values: np.ndarray, target: int | None) -> int:
        data = np.ascontiguousarray(values).tobytes()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self._bytes), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self._bytes += data + b"\0" * (-len(data) % 4)
        self._views.append(view)
        return len(self._views) - 1
