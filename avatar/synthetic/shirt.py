"""A crew-neck shirt and shoulders around a head's bust."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import PchipInterpolator

from avatar.synthetic.noise import fractal
from avatar.synthetic.raycast import Scene
from avatar.synthetic.skin import smoothstep

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

COLUMNS, ROWS = 128, 72
_AXIS = -0.060  # z of the neck's axis, metres, on heads laid out as the open head is
# Along a column: share of the rows at which the collar's inside, rim, outside and seam, then the shoulders lie.
_STATIONS = (0.0, 0.05, 0.10, 0.18, 0.40, 0.58, 0.75, 1.0)


def neckline(angle: np.ndarray) -> np.ndarray:
    """Height of the collar in metres at an angle about +y, 0 at the left shoulder and pi / 2 in front."""
    front = np.sin(angle)
    return np.where(front > 0, -0.110 - 0.036 * front**2, -0.110 + 0.010 * front**2)


def under_shirt(template: Float[np.ndarray, "V 3"], *, margin: float = 0.012) -> Bool[np.ndarray, " V"]:
    """Which vertices of the mean head the shirt hides."""
    angle = np.arctan2(template[:, 2] - _AXIS, template[:, 0])
    return template[:, 1] < neckline(angle) - margin


def tailor(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "m 3"], Int[np.ndarray, "k 3"], Float[np.ndarray, " m"]]:
    """A shirt that fits a bust at rest.

    Args:
        vertices: (V, 3) the person's head at rest, metres.
        faces: (F, 3) its skin.

    Returns:
        Vertices (m, 3), faces (k, 3), and for every vertex (m,) its station down the shirt from 0 to 1.
    """
    angle = np.arange(COLUMNS) / COLUMNS * 2 * np.pi
    out = np.stack([np.cos(angle), np.zeros(COLUMNS), np.sin(angle)], axis=1)
    height = neckline(angle)
    reach = _reach(vertices, faces, height, out)
    lateral, front = np.abs(np.cos(angle)), np.clip(np.sin(angle), 0, None)

    def ring(radius: np.ndarray, level: np.ndarray) -> np.ndarray:
        points = out * radius[:, None]
        points[:, 1], points[:, 2] = level, points[:, 2] + _AXIS
        return points

    def torso(width: float, depth: float, level: np.ndarray) -> np.ndarray:
        radius = (lateral**2.6 / width**2.6 + np.abs(np.sin(angle)) ** 2.6 / depth**2.6) ** (-1 / 2.6)
        return ring(radius, level)

    stations = np.stack(
        [
            ring(reach - 0.004, height - 0.010),
            ring(reach + 0.0015, height + 0.003),
            ring(reach + 0.0045, height + 0.001),
            ring(reach + 0.0080 + 0.008 * lateral, height - 0.012),
            torso(0.128, 0.108, -0.133 - 0.060 * front - 0.010 * (1 - lateral)),
            torso(0.188, 0.128, -0.163 - 0.060 * front),
            torso(0.215, 0.140, np.full(COLUMNS, -0.255)),
            torso(0.222, 0.150, np.full(COLUMNS, -0.420)),
        ]
    )
    down = np.linspace(0, 1, ROWS)
    points = PchipInterpolator(_STATIONS, stations, axis=0)(down)
    # Folds in the cloth, none at the collar.
    folds = 0.0035 * fractal(points.reshape(-1, 3) * [1, 0.55, 1], 0.075, seed=31).reshape(ROWS, COLUMNS)
    points = points + (folds * smoothstep(0.2, 0.45, down)[:, None])[..., None] * (out + np.array([0, 0.6, 0]))
    return points.reshape(-1, 3), _grid_faces(ROWS, COLUMNS), np.repeat(down, COLUMNS)


def _reach(vertices: np.ndarray, faces: np.ndarray, height: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Distance (COLUMNS,) from the neck's axis to the skin at the neckline."""
    scene = Scene(vertices, faces)
    origin = np.stack([np.zeros(COLUMNS), height, np.full(COLUMNS, _AXIS)], axis=1)
    prim, weights = scene.intersect(origin, out)
    where = np.einsum("nk,nkc->nc", weights, scene.vertices[scene.faces[prim]])
    reach = np.linalg.norm(where - origin, axis=1)
    reach[prim < 0] = np.median(reach[prim >= 0]) if (prim >= 0).any() else 0.06
    # A round collar: the muscles of the neck do not show in it.
    spectrum = np.fft.rfft(reach)
    spectrum[6:] = 0
    return np.maximum(np.fft.irfft(spectrum, COLUMNS), reach)


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = row * columns + column, row * columns + (column + 1) % columns
    c, d = a + columns, b + columns
    return np.stack([a, b, c, b, d, c], axis=-1).reshape(-1, 3)
