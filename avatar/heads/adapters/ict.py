"""ICT-FaceKit (Li et al., "Learning Formation of Physically-Based Face Attributes", 2020) from the user's own clone.

The clone's ``FaceXModel`` holds one OBJ for the neutral face, one for each of 100 identity modes and one for each
expression, in centimetres. Directions are a file's vertices less the neutral ones. Its README lists which vertices are
which part; the shells around the eyes (fluid, blend, occlusion), made for one renderer, are left out. The model has no
joints: the jaw's and the eyes' are those whose turns its jawOpen and eyeLook shapes come nearest to, and what the turns
do not explain becomes pose correctives, so that the sculpted shapes come back exactly.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from avatar.errors import FormatError, InputError
from avatar.heads.adapters.source import HeadSource, check_pose
from avatar.heads.arkit import ARKIT_NAMES
from avatar.heads.build.identity import rigid_fit
from avatar.heads.build.meshes import neighbour_mean
from avatar.heads.build.rig import LOOKS, X_MINUS, X_PLUS, Y_MINUS, Y_PLUS, affine_weights, odd, unposed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float, Int

NEUTRAL = "generic_neutral_mesh.obj"
CENTIMETRE = 0.01
VERTICES = 26719
# Vertex ranges of the README's table that are kept, in our names. Gums and tongue are one mesh.
PARTS = {
    "skin": (0, 14062),
    "tongue": (14062, 17039),
    "teeth_upper": (17039, 19247),
    "teeth_lower": (19247, 21451),
    "eye_l": (21451, 23021),
    "eye_r": (23021, 24591),
    "lashes": (25351, 26719),
}
# The white of each eye within its part: its sphere is the ball's.
SCLERAS = ((21451, 22221), (23021, 23791))
IDENTITY = re.compile(r"identity(\d{3})\.obj")
# Expressions that joints and lids make.
POSED = ("jawOpen", "eyeBlink", "eyeLook")
LICENCE = "MIT; user-supplied, licence of the publisher applies"
SOURCE = "ICT-FaceKit, https://github.com/ICT-VGL/ICT-FaceKit; user's clone"
# The root and the neck below and behind the eyes' middle, in distances of the eyes, and how far the neck's turn fades.
ROOT, NECK, FADE = np.array([0, -2.43, -1.82]), np.array([0, -1.46, -1.52]), 0.035


def find_ict(path: Path) -> Path | None:
    """The folder of OBJ files in a clone or in itself; None where there is none."""
    for folder in (path, path / "FaceXModel"):
        if (folder / NEUTRAL).is_file():
            return folder
    return None


def read_ict(folder: Path, *, progress: Callable[[int, int], None] | None = None) -> HeadSource:
    """The model from its folder of OBJ files.

    Raises:
        FormatError: The neutral mesh is not ICT-FaceKit's, or a shape does not fit it.
        InputError: Identities or expressions are missing.
    """
    neutral, quads, uv = _read_mesh(folder / NEUTRAL)
    if len(neutral) != VERTICES:
        raise FormatError(
            f"{folder / NEUTRAL} is not ICT-FaceKit's",
            expected=f"{VERTICES} vertices",
            found=str(len(neutral)),
            fix="import an unchanged clone of ICT-FaceKit",
        )
    files = sorted(folder.glob("*.obj"))
    identities = [file for file in files if IDENTITY.fullmatch(file.name)]
    expressions = [file for file in files if file not in identities and file.name != NEUTRAL]
    needed = {
        "jawOpen",
        *(f"eye{what}_{side}" for side in "LR" for what in ("Blink", *(f"Look{look}" for look in LOOKS))),
    }
    missing = sorted(needed - {file.stem for file in expressions})
    if missing or not identities:
        raise InputError(
            f"{folder} is not a whole ICT-FaceKit",
            expected="identity000.obj and on, and one OBJ for each expression",
            found=f"no {', '.join(missing) or 'identity'}",
            fix="clone it again; its shapes may lie in large-file storage: git lfs pull",
        )
    kept = np.concatenate([np.arange(*ends) for ends in PARTS.values()])
    directions = {}
    for done, file in enumerate([*identities, *expressions], start=1):
        points = _read_points(file)
        if points.shape != neutral.shape:
            raise FormatError(
                f"{file} does not fit the neutral face", expected=f"{VERTICES} vertices", found=str(len(points))
            )
        directions[file.stem] = CENTIMETRE * (points - neutral)[kept]
        if progress is not None:
            progress(done, len(identities) + len(expressions))
    return _assemble(CENTIMETRE * neutral, quads, uv, kept, directions, [file.stem for file in identities])


def _assemble(
    neutral: np.ndarray,
    faces: np.ndarray,
    uv: np.ndarray,
    kept: np.ndarray,
    directions: dict[str, np.ndarray],
    identities: list[str],
) -> HeadSource:
    """The source from the neutral mesh in metres and every shape's displacements of the kept vertices."""
    place = np.full(len(neutral), -1)
    place[kept] = np.arange(len(kept))
    whole = (place[faces] >= 0).all(axis=1)
    faces, uv, template = place[faces[whole]], uv[whole], neutral[kept]
    parts, start = {}, 0
    for name, (first, stop) in PARTS.items():
        parts[name] = (start, start + stop - first)
        start = parts[name][1]
    balls = [place[np.arange(*ends)] for ends in SCLERAS]
    centres = np.stack([_sphere_centre(template[ball]) for ball in balls])
    rig = _Rig(template, faces, parts, balls, centres)
    jaw_angle = rig.open_jaw(directions["jawOpen"])
    look_angles = rig.look(directions)
    check_pose(rig.regressor @ template, template, name="ICT-FaceKit")
    basis = sorted(name for name in directions if name not in identities and not name.startswith(POSED))
    if "mouthClose" in basis:
        directions["mouthClose"] = rig.before_jaw(directions["mouthClose"], jaw_angle)
    return HeadSource(
        name="ict-facekit",
        recognised="ict-facekit (its neutral mesh and vertex count)",
        v_template=template,
        f=faces,
        uv=uv,
        shapedirs=np.stack([directions[name] for name in identities], axis=-1),
        exprdirs=np.stack([directions[name] for name in basis], axis=-1),
        posedirs=rig.posedirs,
        J_regressor=rig.regressor,
        weights=rig.weights,
        parts=parts,
        licence=LICENCE,
        source=SOURCE,
        actions=arkit_actions(basis),
        eyelids=np.stack([rig.without_balls(directions[f"eyeBlink_{side}"]) for side in "LR"], axis=-1),
        jaw_open_angle=jaw_angle,
        eye_look_angles=look_angles,
    )


def arkit_actions(basis: list[str]) -> dict[str, Float[np.ndarray, " E"]]:
    """Coefficients of ARKit's actions: sides are spelt _L and _R, and two actions of ARKit's are split into sides."""
    actions = {}
    for name in ARKIT_NAMES:
        sided = re.sub("Left$", "_L", re.sub("Right$", "_R", name)) if name not in basis else name
        used = [sided] if sided in basis else [f"{name}_{side}" for side in "LR"]
        if set(used) <= set(basis):
            actions[name] = np.isin(basis, used).astype(np.float64)
    return actions


class _Rig:
    """Joints, weights and correctives, found piece by piece."""

    def __init__(
        self,
        template: Float[np.ndarray, "V 3"],
        faces: Int[np.ndarray, "F 3"],
        parts: dict[str, tuple[int, int]],
        balls: list[np.ndarray],
        centres: Float[np.ndarray, "2 3"],
    ) -> None:
        self.template, self.faces, self.parts, self.balls, self.centres = template, faces, parts, balls, centres
        count = len(template)
        self.weights, self.posedirs, self.regressor = (
            np.zeros((count, 5)),
            np.zeros((count, 3, 36)),
            np.zeros((5, count)),
        )
        middle, unit = centres.mean(axis=0), np.linalg.norm(centres[0] - centres[1])
        root, neck = middle + unit * ROOT, middle + unit * NECK
        height = template[:, 1] - root[1]
        self.weights[:, 1] = np.clip(height / (neck[1] - root[1] + FADE), 0, 1)
        self.weights[self.parts["skin"][1] :, 1] = 1
        for row, centre in enumerate((root, neck)):
            self._regress(
                row, np.arange(*parts["skin"])[np.abs(template[slice(*parts["skin"]), 1] - centre[1]) < 0.02], centre
            )
        for row, (ball, centre) in enumerate(zip(balls, centres, strict=True), start=3):
            self._regress(row, ball, centre)
            self.weights[slice(*parts[("eye_l", "eye_r")[row - 3]])] = np.eye(5)[row]

    def _regress(self, row: int, ids: np.ndarray, centre: np.ndarray) -> None:
        self.regressor[row, ids] = affine_weights(self.template[ids], centre)

    def open_jaw(self, opened: Float[np.ndarray, "V 3"]) -> float:
        """Takes the jaw's joint, weights and correctives from the sculpted open mouth; returns its angle."""
        teeth = np.arange(*self.parts["teeth_lower"])
        turn, _ = rigid_fit(self.template[teeth], self.template[teeth] + opened[teeth])
        angle = float(np.arctan2(turn[2, 1], turn[1, 1]))
        if not 0.05 < angle < 1.0:
            raise FormatError(
                "ICT-FaceKit's jawOpen does not turn the lower teeth", found=f"{np.degrees(angle):.1f} degrees"
            )
        turn = _about_x(angle)
        # The axis is where a point of the sagittal plane stays: (I - R) c = t.
        shift = (self.template + opened)[teeth].mean(axis=0) - turn @ self.template[teeth].mean(axis=0)
        jaw = np.r_[0, np.linalg.solve((np.eye(3) - turn)[1:, 1:], shift[1:])]
        near = np.argsort(np.linalg.norm(self.template[slice(*self.parts["skin"])] - jaw, axis=1))[:400]
        self._regress(2, np.concatenate([teeth[::7], near]), jaw)
        arc = (self.template - jaw) @ (turn - np.eye(3)).T
        share = np.clip((opened * arc).sum(axis=1) / np.maximum((arc * arc).sum(axis=1), 1e-9), 0, 1)
        share = np.where(np.linalg.norm(opened, axis=1) < 3e-4, 0, share)
        smooth = neighbour_mean(self.faces, len(self.template))
        for _ in range(3):
            share = 0.5 * share + 0.5 * (smooth @ share)
        share[teeth] = 1
        share[slice(*self.parts["teeth_upper"])] = 0
        self.weights[:, 2] = np.where(self.weights[:, 3:].any(axis=1), 0, share * self.weights[:, 1])
        self.weights[:, 1] = np.where(self.weights[:, 3:].any(axis=1), 0, self.weights[:, 1] - self.weights[:, 2])
        self.weights[:, 0] = 1 - self.weights[:, 1:].sum(axis=1)
        corrective = unposed(self.template, opened, pivot=jaw, turn=turn, share=self.weights[:, 2])
        odd(self.posedirs, 9, X_PLUS, X_MINUS, self.without_balls(corrective) / np.sin(angle))
        self.jaw = jaw
        return angle

    def before_jaw(self, displacement: Float[np.ndarray, "V 3"], angle: float) -> Float[np.ndarray, "V 3"]:
        """A displacement sculpted on the open mouth, turned back so that skinning carries it there."""
        blended = np.eye(3) + self.weights[:, 2, None, None] * (_about_x(angle) - np.eye(3))
        return np.linalg.solve(blended, displacement[..., None])[..., 0]

    def look(self, directions: dict[str, Float[np.ndarray, "V 3"]]) -> Float[np.ndarray, " 4"]:
        """Takes the eyes' angles and how the lids follow from the sculpted looks; returns the four angles."""
        found = []
        for side, (letter, ball) in enumerate(zip("LR", self.balls, strict=True)):
            turns, lids = {}, {}
            for look in LOOKS:
                moved = directions[f"eyeLook{look}_{letter}"]
                turn, _ = rigid_fit(self.template[ball], self.template[ball] + moved[ball])
                turns[look] = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0]]) / 2
                lids[look] = self.without_balls(moved)
            joint = 9 * (2 + side)
            down, across = turns["Down"][0] - turns["Up"][0], turns["In"][1] - turns["Out"][1]
            if min(abs(down), abs(across)) < 0.05:
                raise FormatError(
                    "ICT-FaceKit's eyeLook shapes do not turn the eyes", found=f"{down:.3f} and {across:.3f} rad"
                )
            odd(self.posedirs, joint, X_PLUS, X_MINUS, (lids["Down"] - lids["Up"]) / down)
            odd(self.posedirs, joint, Y_PLUS, Y_MINUS, (lids["In"] - lids["Out"]) / across)
            found.append([np.arcsin(min(np.linalg.norm(turns[look]), 1)) for look in LOOKS])
        return np.mean(found, axis=0)

    def without_balls(self, displacement: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
        """The displacement with the eyeballs left in place: they turn about their joints."""
        still = displacement.copy()
        for name in ("eye_l", "eye_r"):
            still[slice(*self.parts[name])] = 0
        return still


def _about_x(angle: float) -> Float[np.ndarray, "3 3"]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def _sphere_centre(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " 3"]:
    """Centre of the sphere through points, by linear least squares."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    return np.linalg.lstsq(system, np.square(points).sum(axis=1), rcond=None)[0][:3]


def _read_points(path: Path) -> Float[np.ndarray, "n 3"]:
    """An OBJ's vertices alone."""
    lines = [line[2:] for line in path.read_bytes().splitlines() if line.startswith(b"v ")]
    try:
        return np.array(b" ".join(lines).split(), dtype=np.float64).reshape(len(lines), 3)
    except ValueError as error:
        raise FormatError(
            f"{path} cannot be read", expected="an OBJ mesh", found=str(error), fix="clone again, or: git lfs pull"
        ) from error


def _read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An OBJ's vertices, its faces as triangles, and their texture coordinates."""
    points, coordinates, corners = _read_points(path), [], []
    try:
        for line in path.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("vt "):
                coordinates.append([float(value) for value in line.split()[1:3]])
            elif line.startswith("f "):
                polygon = [[int(index or 0) for index in (corner + "//").split("/")[:2]] for corner in line.split()[1:]]
                corners += [[polygon[0], polygon[k], polygon[k + 1]] for k in range(1, len(polygon) - 1)]
        faces = np.array(corners, dtype=np.int64).reshape(-1, 3, 2) - 1
    except ValueError as error:
        raise FormatError(
            f"{path} cannot be read", expected="an OBJ mesh", found=str(error), fix="clone again, or: git lfs pull"
        ) from error
    if not len(faces) or faces[..., 0].min() < 0 or faces[..., 0].max() >= len(points):
        raise FormatError(
            f"{path} is not a mesh",
            expected="faces over its vertices",
            found=f"{len(faces)} triangles",
            fix="clone it again, or: git lfs pull",
        )
    texture = np.array([*coordinates, [0.0, 0.0]])
    return points, faces[..., 0], texture[np.where(faces[..., 1] < len(coordinates), faces[..., 1], -1)]
