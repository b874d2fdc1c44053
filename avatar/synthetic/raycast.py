"""Ray-cast pictures of triangle meshes: soft shadows, ambient occlusion, skin-like shading.

Slow (about a second for 400 x 400 pixels) and exact; the cameras are those of the tracker, so that a picture and its
ground truth share one projection. Colours are linear inside and sRGB in what `render` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.cameras import Camera
from avatar.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

_EPSILON = 3e-4  # metres a ray starts above the surface it leaves
_GOLDEN = (np.sqrt(5.0) - 1) / 2


@dataclass(frozen=True)
class Surface:
    """What the camera sees, at the n samples that hit the mesh.

    Attributes:
        hit: (H, W) whether the sample hit anything; the n others follow its row-major order.
        prim: (n,) face index.
        barycentric: (n, 3) weights of the face's three vertices.
        position: (n, 3) metres, world.
        normal: (n, 3) unit, smooth, turned to the camera.
        direction: (n, 3) unit direction of the ray that arrived.
    """

    hit: Bool[np.ndarray, "H W"]
    prim: Int[np.ndarray, " n"]
    barycentric: Float[np.ndarray, "n 3"]
    position: Float[np.ndarray, "n 3"]
    normal: Float[np.ndarray, "n 3"]
    direction: Float[np.ndarray, "n 3"]

    def scatter(self, values: Float[np.ndarray, "n c"], fill: float = 0.0) -> Float[np.ndarray, "H W c"]:
        """The samples' values on the image grid."""
        grid = np.full((*self.hit.shape, values.shape[1]), fill, values.dtype)
        grid[self.hit] = values
        return grid


@dataclass(frozen=True)
class Material:
    """How n samples reflect light.

    Attributes:
        albedo: (n, 3) linear RGB.
        specular: (n,) strength of the highlight.
        gloss: (n,) Blinn-Phong exponent.
        softness: (n,) 0 for hard matter to 1 for skin, whose light bleeds past the terminator, red farthest.
        tangent: (n, 3) unit strand direction where the sample is hair, zero elsewhere; None when there is no hair.
    """

    albedo: Float[np.ndarray, "n 3"]
    specular: Float[np.ndarray, " n"]
    gloss: Float[np.ndarray, " n"]
    softness: Float[np.ndarray, " n"]
    tangent: Float[np.ndarray, "n 3"] | None = None


@dataclass(frozen=True)
class Pane:
    """How n samples of glass let light through.

    Attributes:
        material: What reflects the light that does not pass.
        passed: (n, 3) share of the light from behind that passes, linear RGB.
        mirror: (n,) share of the light from in front that is mirrored; more at a grazing angle.
    """

    material: Material
    passed: Float[np.ndarray, "n 3"]
    mirror: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Glazing:
    """A mesh that light passes through, which casts no shadow.

    Attributes:
        vertices: (V, 3) metres, world.
        faces: (F, 3) vertex indices.
        appearance: Gives the panes of hit samples from their face indices (n,).
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    appearance: Callable[[np.ndarray], Pane]


@dataclass(frozen=True)
class Light:
    """A distant light.

    Attributes:
        direction: Towards the light, in the world's axes.
        colour: Linear RGB strength.
        spread: Half angle of the light's disc in radians; 0 casts no shadow.
    """

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    spread: float = 0.0


@dataclass(frozen=True)
class Lighting:
    """Lights, ambient light and how finely both are sampled.

    Attributes:
        lights: The distant lights.
        sky: Linear RGB of the ambient light from above.
        ground: The same from below.
        reach: Metres within which matter dims the ambient light.
        rays: Occlusion rays a sample; neighbouring samples share theirs.
    """

    lights: tuple[Light, ...]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    reach: float = 0.05
    rays: int = 4


STUDIO = Lighting(
    lights=(
        Light((0.55, 0.55, 0.85), (0.80, 0.75, 0.68), 0.16),
        Light((-0.85, 0.15, 0.60), (0.20, 0.23, 0.27)),
        Light((-0.45, 0.55, -0.90), (0.30, 0.31, 0.34), 0.10),
    ),
    sky=(0.40, 0.41, 0.43),
    ground=(0.24, 0.21, 0.19),
)


class Scene:
    """One mesh, ready to be hit by rays.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) vertex indices.

    Raises:
        InputError: embreex is not installed.
    """

    def __init__(self, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise InputError(
                "Synthetic pictures cannot be rendered",
                expected="the package embreex",
                found=str(error),
                fix="pip install 'headsplat[dev]'",
            ) from error
        self.vertices = np.ascontiguousarray(vertices, np.float32)
        self.faces = np.ascontiguousarray(faces, np.int32)
        self._scene: Any = EmbreeScene()
        self._mesh: Any = TriangleMesh(self._scene, self.vertices, self.faces)

    @cached_property
    def normals(self) -> Float[np.ndarray, "V 3"]:
        """Unit vertex normals, weighted by area."""
        return vertex_normals(self.vertices, self.faces)

    def intersect(
        self, origins: Float[np.ndarray, "r 3"], directions: Float[np.ndarray, "r 3"]
    ) -> tuple[Int[np.ndarray, " r"], Float[np.ndarray, "r 3"]]:
        """The first face along each ray (-1 for none) and the barycentric weights of the hit."""
        found = self._scene.run(_rays(origins), _rays(directions), query="INTERSECT", output=1)
        u, v = found["u"], found["v"]
        return found["primID"], np.stack([1 - u - v, u, v], axis=1)

    def occluded(
        self, origins: Float[np.ndarray, "r 3"], directions: Float[np.ndarray, "r 3"], *, limit: float = 10.0
    ) -> Bool[np.ndarray, " r"]:
        """Whether anything lies within `limit` metres along each ray."""
        reach = np.full(len(origins), limit, np.float32)
        return self._scene.run(_rays(origins), _rays(directions), dists=reach, query="INTERSECT") >= 0

    def view(self, camera: Camera, *, supersample: int = 1) -> Surface:
        """What `camera` sees, with supersample x supersample samples a pixel."""
        origins, directions = camera_rays(camera, supersample=supersample)
        prim, barycentric = self.intersect(origins, directions)
        hit = prim >= 0
        prim, barycentric, direction = prim[hit], barycentric[hit], directions[hit]
        corners = self.faces[prim]
        normal = _unit(np.einsum("nk,nkc->nc", barycentric, self.normals[corners]))
        a, b, c = (self.vertices[corners[:, k]] for k in range(3))
        normal[np.einsum("nc,nc->n", np.cross(b - a, c - a), direction) > 0] *= -1
        # Near an outline a smooth normal may lean away from the camera where its face does not.
        away = np.clip(np.einsum("nc,nc->n", normal, direction) + 0.03, 0, None)
        normal = _unit(normal - away[:, None] * direction)
        return Surface(
            hit=hit.reshape(camera.height * supersample, camera.width * supersample),
            prim=prim,
            barycentric=barycentric,
            position=np.einsum("nk,nkc->nc", barycentric, self.vertices[corners]),
            normal=normal,
            direction=direction,
        )


def camera_rays(camera: Camera, *, supersample: int = 1) -> tuple[Float[np.ndarray, "r 3"], Float[np.ndarray, "r 3"]]:
    """Origins and unit directions, in the world, of a camera's samples in row-major order."""
    x = (np.arange(camera.width * supersample) + 0.5) / supersample
    y = (np.arange(camera.height * supersample) + 0.5) / supersample
    pixels = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], axis=-1).reshape(-1, 3)
    rotation, translation = camera.viewmat[:3, :3], camera.viewmat[:3, 3]
    directions = _unit(pixels @ np.linalg.inv(camera.K).T @ rotation).astype(np.float32)
    origin = (-rotation.T @ translation).astype(np.float32)
    return np.broadcast_to(origin, directions.shape), directions


def vertex_normals(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Unit normals at the vertices: the mean of the faces' normals, weighted by area."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    weighted = np.cross(b - a, c - a)
    total = np.stack([np.bincount(faces.ravel(), np.repeat(axis, 3), len(vertices)) for axis in weighted.T], axis=1)
    return _unit(total).astype(np.float32)


def shade(scene: Scene, surface: Surface, material: Material, *, lighting: Lighting = STUDIO) -> np.ndarray:
    """Linear RGB (n, 3) of a surface under `lighting`.

    The diffuse term is wrapped (softened terminator) with a wider wrap for red, the usual cheap stand-in for light
    scattered under skin; hair takes the Kajiya-Kay highlight (Kajiya and Kay 1989).
    """
    normal, direction = surface.normal, surface.direction
    start = surface.position + normal * _EPSILON
    turn = _pixel_noise(surface.hit.shape)[surface.hit]
    openness = _ambient_openness(scene, start, normal, turn, lighting)
    shadows = [_visibility(scene, start, light, turn) for light in lighting.lights]
    visible = _share(surface, np.stack([openness, *shadows], axis=1).astype(np.float32))

    upward = 0.5 + 0.5 * normal[:, 1:2]
    ambient = np.asarray(lighting.ground) * (1 - upward) + np.asarray(lighting.sky) * upward
    # Occluded skin glows red from its own light (interreflection), so it loses red last.
    tint = visible[:, :1] ** (1 - material.softness[:, None] * np.array([0.45, 0.1, 0.0]))
    colour = material.albedo * ambient * tint
    wrap = material.softness[:, None] * np.array([0.34, 0.16, 0.10])
    for index, light in enumerate(lighting.lights):
        towards = _unit(np.asarray(light.direction, np.float32))
        strength = np.asarray(light.colour) * visible[:, index + 1 : index + 2]
        cosine = (normal @ towards)[:, None]
        lambert = np.clip((cosine + wrap) / (1 + wrap), 0, None) ** (1 + wrap)
        half = _unit(towards - direction)
        shine = np.clip(np.einsum("nc,nc->n", normal, half), 0, 1) ** material.gloss
        if material.tangent is not None:
            along = np.einsum("nc,nc->n", material.tangent, half)
            strand = (material.tangent**2).sum(axis=1) > 0.5
            shine = np.where(strand, np.sqrt(np.clip(1 - along**2, 0, 1)) ** material.gloss, shine)
        gain = (material.specular * shine * (0.6 + material.gloss / 40) * np.clip(cosine[:, 0] * 4, 0, 1))[:, None]
        colour = colour + strength * (material.albedo * lambert + gain)
    fresnel = (1 - np.clip(-np.einsum("nc,nc->n", normal, direction), 0, 1)) ** 4
    return colour + (material.specular * 0.5 * fresnel * visible[:, 0])[:, None] * np.asarray(lighting.sky)


def render(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    *,
    appearance: Callable[[np.ndarray, np.ndarray], Material],
    camera: Camera,
    lighting: Lighting = STUDIO,
    supersample: int = 2,
    background: Float[np.ndarray, "H W 3"] | None = None,
    glazing: Glazing | None = None,
) -> tuple[Float[np.ndarray, "H W 3"], Float[np.ndarray, "H W 1"]]:
    """A picture of one mesh.

    Args:
        vertices: (V, 3) metres, world.
        faces: (F, 3) vertex indices.
        appearance: Gives the material of hit samples from their face indices (n,) and barycentric weights (n, 3), as
            `avatar.synthetic.skin.HeadAppearance` does.
        camera: Where the picture is taken from.
        lighting: The lights.
        supersample: Samples along each side of a pixel.
        background: (H, W, 3) sRGB behind the mesh; mid grey when None.
        glazing: Glass before the mesh.

    Returns:
        The picture (H, W, 3) in [0, 1], sRGB, float32, and its coverage (H, W, 1).
    """
    scene = Scene(vertices, faces)
    surface = scene.view(camera, supersample=supersample)
    colour = shade(scene, surface, appearance(surface.prim, surface.barycentric), lighting=lighting)
    # Highlights are rolled off before averaging, else a bright sample leaves jagged edges.
    colour = _shoulder(colour)
    grid, cover = surface.scatter(colour), surface.hit[..., None].astype(np.float64)
    behind = np.full((camera.height, camera.width, 3), 0.18) if background is None else to_linear(background)
    if glazing is not None:
        behind_samples = behind.repeat(supersample, axis=0).repeat(supersample, axis=1)
        grid, cover = _glazed(
            scene,
            surface,
            grid=grid,
            behind=behind_samples,
            glazing=glazing,
            camera=camera,
            lighting=lighting,
            supersample=supersample,
        )
    picture, alpha = _reduce(grid, supersample), _reduce(cover, supersample)
    return to_srgb(picture + (1 - alpha) * behind).astype(np.float32), alpha.astype(np.float32)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    srgb = np.asarray(srgb, np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """SRGB values in [0, 1] of linear light (IEC 61966-2-1)."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-8) ** (1 / 2.4) - 0.055)


def _glazed(
    scene: Scene,
    surface: Surface,
    *,
    grid: np.ndarray,
    behind: np.ndarray,
    glazing: Glazing,
    camera: Camera,
    lighting: Lighting,
    supersample: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples (H, W, 3) seen through glass where that is nearer, and their coverage (H, W, 1).

    Args:
        scene: The mesh behind the glass.
        surface: What is seen of it.
        grid: Its linear colours, (H, W, 3) samples.
        behind: Linear colours of the background, (H, W, 3) samples.
        glazing: The glass.
        camera: Where the picture is taken from.
        lighting: The lights.
        supersample: Samples along each side of a pixel.
    """
    glass = Scene(glazing.vertices, glazing.faces).view(camera, supersample=supersample)
    eye = camera_rays(camera)[0][0]
    solid, near = (
        each.scatter(np.linalg.norm(each.position - eye, axis=1, keepdims=True), np.inf)[..., 0]
        for each in (surface, glass)
    )
    first = near < solid
    kept = first[glass.hit]
    seen = Surface(
        first, *(getattr(glass, name)[kept] for name in ("prim", "barycentric", "position", "normal", "direction"))
    )
    pane = glazing.appearance(seen.prim)
    cosine = np.clip(-np.einsum("nc,nc->n", seen.normal, seen.direction), 0, 1)
    mirrored = seen.direction + 2 * cosine[:, None] * seen.normal
    # Schlick's approximation of the Fresnel equations (1994).
    share = (pane.mirror + (1 - pane.mirror) * (1 - cosine) ** 5)[:, None]
    through = np.where(surface.hit[..., None], grid, behind)[first]
    colour = pane.passed * through + (1 - pane.passed) * shade(scene, seen, pane.material, lighting=lighting)
    result, cover = grid.copy(), (surface.hit | first)[..., None].astype(np.float64)
    result[first] = _shoulder((1 - share) * colour + share * _surroundings(mirrored, lighting))
    return result, cover


def _surroundings(direction: np.ndarray, lighting: Lighting) -> np.ndarray:
    """Linear RGB (n, 3) of what lies around in directions (n, 3): sky, ground and the discs of the lights."""
    upward = 0.5 + 0.5 * direction[:, 1:2]
    result = np.asarray(lighting.ground) * (1 - upward) + np.asarray(lighting.sky) * upward
    for light in lighting.lights:
        if light.spread > 0:
            angle = np.arccos(np.clip(direction @ _unit(np.asarray(light.direction)), -1, 1))
            disc = np.clip(2 - 2 * angle / light.spread, 0, 1)
            result = result + disc[:, None] * np.asarray(light.colour) / (np.pi * np.sin(light.spread) ** 2)
    return result


def _shoulder(colour: np.ndarray) -> np.ndarray:
    return np.where(colour > 0.7, 1 - 0.3 * np.exp(-(np.maximum(colour, 0.7) - 0.7) / 0.3), colour)


def _ambient_openness(
    scene: Scene, start: np.ndarray, normal: np.ndarray, turn: np.ndarray, lighting: Lighting
) -> np.ndarray:
    """Cosine-weighted share of the sky a sample sees within the lighting's reach."""
    open_share = np.zeros(len(start))
    for index in range(lighting.rays):
        height = 1 - 2 * ((index + turn[:, 0]) / lighting.rays)
        angle = 2 * np.pi * ((index * _GOLDEN + turn[:, 1]) % 1)
        radius = np.sqrt(np.clip(1 - height**2, 0, 1))
        ball = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
        open_share += ~scene.occluded(start, _unit(ball + normal * 1.001), limit=lighting.reach)
    return open_share / max(lighting.rays, 1)


def _visibility(scene: Scene, start: np.ndarray, light: Light, turn: np.ndarray) -> np.ndarray:
    """Whether a random point of the light's disc is seen; `_share` turns this into a soft shadow."""
    if light.spread == 0:
        return np.ones(len(start))
    towards = _unit(np.asarray(light.direction))
    side = _unit(np.cross(towards, [0.0, 1.0, 0.0]))
    radius, angle = np.tan(light.spread) * np.sqrt(turn[:, 1]), 2 * np.pi * turn[:, 0]
    jitter = (radius * np.cos(angle))[:, None] * side + (radius * np.sin(angle))[:, None] * np.cross(towards, side)
    return ~scene.occluded(start, _unit(towards + jitter))


def _pixel_noise(shape: tuple[int, int]) -> np.ndarray:
    """Two numbers in [0, 1) a sample, well spread among neighbours and the same in every frame.

    Interleaved gradient noise (Jimenez 2014), so that averaging a few neighbours leaves little grain.
    """
    y, x = np.mgrid[: shape[0], : shape[1]]
    first = (52.9829189 * ((0.06711056 * x + 0.00583715 * y) % 1)) % 1
    second = (52.9829189 * ((0.06711056 * (y + 47) + 0.00583715 * (x + 113)) % 1)) % 1
    return np.stack([first, second], axis=-1)


def _share(surface: Surface, values: np.ndarray) -> np.ndarray:
    """Averages values over close samples of the same surface: rows, then columns."""
    rows, columns = (np.flatnonzero(surface.hit.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return values
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    place = np.concatenate([surface.position / 0.006, surface.normal], axis=1).astype(np.float32)
    # Channels first: sums over them are then additions of whole planes.
    place = np.ascontiguousarray(surface.scatter(place, 1e6)[window].transpose(2, 0, 1))
    grid = np.ascontiguousarray(surface.scatter(values)[window].transpose(2, 0, 1))
    for axis in (1, 2):
        total, weight = grid.copy(), np.ones(grid.shape[1:], np.float32)
        for step in (-3, -2, -1, 1, 2, 3):
            near = np.roll(place, step, axis)
            gap = sum((near[channel] - place[channel]) ** 2 for channel in range(3))
            facing = sum(near[channel] * place[channel] for channel in range(3, 6))
            alike = (np.asarray(gap) < 1) & (np.asarray(facing) > 0.7)
            total += alike * np.roll(grid, step, axis)
            weight += alike
        grid = total / weight
    return grid.transpose(1, 2, 0)[surface.hit[window]]


def _reduce(grid: np.ndarray, supersample: int) -> np.ndarray:
    height, width, channels = grid.shape
    blocks = (height // supersample, supersample, width // supersample, supersample, channels)
    return grid.reshape(blocks).mean(axis=(1, 3))


def _rays(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    length = np.sqrt(np.einsum("...c,...c->...", values, values))[..., None]
    return values / np.maximum(length, 1e-12)
