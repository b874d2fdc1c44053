"""The fused rig against the readable one: values, gradients, threads, batches and refusals."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import pytest
import torch
from torch import Tensor

from avatar.errors import InputError
from avatar.fields.rig import STRETCH_RANGE, RiggedGaussians
from avatar.render import Rendering, _native, _rigged, rasterize_rigged

LOCAL = ("offsets", "log_scales", "quats", "opacity_logits", "color_logits")
SIZE = {"width": 40, "height": 32}


@dataclass(frozen=True)
class Ride:
    """Everything an image is made of; `leaves` are what gradients are wanted of."""

    rigged: RiggedGaussians
    vertices: Tensor
    residual: Tensor
    viewmats: Tensor
    Ks: Tensor
    backgrounds: Tensor

    def to(self, dtype: torch.dtype) -> Ride:
        rigged = {f.name: getattr(self.rigged, f.name) for f in fields(self.rigged)}
        rigged = {name: t.to(dtype) if t.is_floating_point() else t for name, t in rigged.items()}
        others = {f.name: getattr(self, f.name).to(dtype) for f in fields(self)[1:]}
        return Ride(RiggedGaussians(**rigged), **others)

    def leaves(self) -> tuple[Ride, dict[str, Tensor]]:
        """The same with fresh leaves for all that has a gradient."""
        moving = ("vertices", "residual", "viewmats", "backgrounds")
        leaves = {name: getattr(self.rigged, name).detach().clone().requires_grad_() for name in LOCAL}
        leaves |= {name: getattr(self, name).detach().clone().requires_grad_() for name in moving}
        rigged = replace(self.rigged, **{name: leaves[name] for name in LOCAL})
        return Ride(rigged, *(leaves[name] for name in moving[:3]), self.Ks, leaves["backgrounds"]), leaves

    def render(self, **settings) -> Rendering:
        more = {"residual": self.residual, "backgrounds": self.backgrounds} | SIZE | settings
        return rasterize_rigged(self.rigged, self.vertices, self.viewmats, self.Ks, **more)


def make_ride(count: int = 200, *, moments: int | None = None, seed: int = 0) -> Ride:
    """Gaussians on a mesh of arbitrary triangles a metre away; some of them have outgrown the bounds of the stretch."""
    g = torch.Generator().manual_seed(seed)
    batch = () if moments is None else (moments,)
    vertices = (torch.rand(*batch, 30, 3, generator=g) - 0.5) * torch.tensor([0.9, 0.7, 0.3])
    corners = torch.stack([torch.randperm(30, generator=g)[:3] for _ in range(count)]).int()
    view = torch.tensor([[0.98, 0, 0.199, 0.01], [0, 1, 0, 0.02], [-0.199, 0, 0.98, 1.0], [0, 0, 0, 1]])
    units = torch.tensor([1e-3] * 3 + [0.2] * 3 + [0.5] + [0.3] * 3)
    rigged = RiggedGaussians(
        corners=corners,
        barycentric=torch.distributions.Dirichlet(torch.ones(3)).sample((count,)),
        rest_sizes=torch.exp(torch.randn(count, generator=g)) * 0.3,
        offsets=torch.randn(count, 3, generator=g) * 0.02,
        log_scales=torch.randn(count, 3, generator=g) * 0.4 - 3.7,
        quats=torch.randn(count, 4, generator=g),
        opacity_logits=torch.randn(count, generator=g),
        color_logits=torch.randn(count, 3, generator=g),
        units=units.repeat(count, 1),
    )
    focal, (width, height) = 44.0, SIZE.values()
    return Ride(
        rigged,
        vertices,
        torch.randn(*batch, count, 10, generator=g),
        view.expand(*batch, 4, 4).clone(),
        torch.tensor([[focal, 0, width / 2 + 0.7], [0, focal * 1.05, height / 2 - 0.4], [0, 0, 1]]),
        torch.tensor([0.2, 0.3, 0.4]).expand(*batch, 3).clone(),
    )


def gradients(ride: Ride, *, isa: str | None = None, **settings) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Image, alpha and all gradients of a fixed arbitrary loss."""
    ride, leaves = ride.leaves()
    image, alpha = ride.render(**settings)[:2] if isa is None else render_on(ride, isa, **settings)
    g = torch.Generator().manual_seed(7)
    weights = [torch.randn(t.shape, generator=g).to(t.dtype) for t in (image, alpha)]
    ((image * weights[0]).sum() + (alpha * weights[1]).sum()).backward()
    return image.detach(), alpha.detach(), {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def render_on(ride: Ride, isa: str, *, threads: int = 1) -> tuple[Tensor, Tensor]:
    """The operator itself at one moment, which lets a test choose the instruction set."""
    r = ride.rigged
    cameras = [t[None] for t in (ride.viewmats, ride.Ks, ride.backgrounds)]
    local = [getattr(r, name) for name in LOCAL]
    mesh = (r.corners, r.barycentric, r.rest_sizes, r.units, list(STRETCH_RANGE))
    moving = (ride.vertices[None], ride.residual[None])
    image, alpha, _ = _rigged.render(*moving, *local, *cameras, *mesh, *SIZE.values(), 0.01, 0.3, 0.999, threads, isa)
    return image[0], alpha[0]


def test_agrees_with_the_readable_rig_on_every_instruction_set(isa: str) -> None:
    ride = make_ride()
    ratio = ride.rigged.rest_sizes
    assert ratio.max() / ratio.min() > 10, "the scene must reach both bounds of the stretch"
    image, alpha, ours = gradients(ride, isa=isa)
    expected, expected_alpha, theirs = gradients(ride.to(torch.float64), backend="torch")
    torch.testing.assert_close(image.double(), expected, atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(alpha.double(), expected_alpha, atol=2e-5, rtol=2e-5)
    assert ours.keys() == theirs.keys() and len(ours) == 9
    for name, gradient in theirs.items():
        error = (ours[name].double() - gradient).norm()
        assert error <= 2e-4 * gradient.norm() + 1e-6, f"{name}: error {error:.2e} of {gradient.norm():.2e}"


def test_in_double_precision_it_is_the_readable_rig() -> None:
    ride = make_ride().to(torch.float64)
    image, alpha, ours = gradients(ride)
    expected, expected_alpha, theirs = gradients(ride, backend="torch")
    torch.testing.assert_close(image, expected, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(alpha, expected_alpha, rtol=1e-8, atol=1e-9)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-7, atol=1e-8, msg=name)


def test_passes_gradcheck_in_double_precision() -> None:
    ride, leaves = make_ride(6, seed=3).to(torch.float64).leaves()
    names = list(leaves)

    def render(*values: Tensor) -> tuple[Tensor, Tensor]:
        given = dict(zip(names, values, strict=True))
        rigged = replace(ride.rigged, **{name: given.pop(name) for name in LOCAL})
        return replace(ride, rigged=rigged, **given).render()[:2]

    assert torch.autograd.gradcheck(render, tuple(leaves.values()), eps=1e-7, atol=1e-4)


def test_moments_are_rendered_as_if_alone_and_share_their_gradients() -> None:
    together = make_ride(moments=3, seed=1)
    image, _, ours = gradients(together)
    assert image.shape == (3, SIZE["height"], SIZE["width"], 3)
    g = torch.Generator().manual_seed(7)
    weights = torch.randn(image.shape, generator=g), torch.randn(*image.shape[:3], 1, generator=g)
    total: dict[str, Tensor] = {}
    for i in range(3):
        moments = {f.name: getattr(together, f.name) for f in fields(together)[1:]}
        moments = {
            name: value[i] if value.ndim and len(value) == 3 and name != "Ks" else value
            for name, value in moments.items()
        }
        ride, leaves = Ride(together.rigged, **moments).leaves()
        alone, alpha, *_ = ride.render()
        assert torch.equal(alone, image[i])
        ((alone * weights[0][i]).sum() + (alpha * weights[1][i]).sum()).backward()
        for name in LOCAL:
            gradient = leaves[name].grad
            assert gradient is not None
            total[name] = total.get(name, 0) + gradient
        assert torch.equal(leaves["vertices"].grad, ours["vertices"][i])
        assert torch.equal(leaves["residual"].grad, ours["residual"][i])
    for name in LOCAL:
        torch.testing.assert_close(ours[name], total[name], rtol=1e-6, atol=1e-6)


def test_threads_do_not_change_a_bit(isa: str) -> None:
    ride = make_ride(9000, seed=2)
    results = [gradients(ride, isa=isa, threads=threads) for threads in (1, 2, 3)]
    for other in results[1:]:
        assert torch.equal(other[0], results[0][0]) and torch.equal(other[1], results[0][1])
        assert all(torch.equal(gradient, results[0][2][name]) for name, gradient in other[2].items())


def test_without_a_residual_nothing_is_added() -> None:
    ride = make_ride(seed=4)
    plain = ride.render(residual=None)
    zero = replace(ride, residual=torch.zeros_like(ride.residual)).render()
    assert torch.equal(plain[0], zero[0])
    assert not torch.equal(plain[0], ride.render()[0])


def test_only_what_needs_a_gradient_gets_one() -> None:
    ride = make_ride(seed=5)
    offsets = ride.rigged.offsets.clone().requires_grad_()
    replace(ride, rigged=replace(ride.rigged, offsets=offsets)).render()[0].square().sum().backward()
    _, _, everything = gradients(ride)
    assert offsets.grad is not None and offsets.grad.abs().sum() > 0
    assert ride.vertices.grad is None and everything["vertices"].abs().sum() > 0


@pytest.mark.parametrize("moved", [0.0, 5.0], ids=["degenerate triangle", "behind the camera"])
def test_odd_meshes_give_finite_gradients(moved: float, isa: str) -> None:
    ride = make_ride(60, seed=6)
    vertices = ride.vertices * (moved > 0) - torch.tensor([0.0, 0.0, moved])
    image, _, found = gradients(replace(ride, vertices=vertices), isa=isa)
    assert image.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in found.values())
    if moved:
        assert torch.equal(image, ride.backgrounds.expand_as(image))
        assert found["vertices"].abs().sum() == found["offsets"].abs().sum() == 0


def test_no_gaussians() -> None:
    ride = make_ride(1)
    none = RiggedGaussians(**{f.name: getattr(ride.rigged, f.name)[:0] for f in fields(ride.rigged)})
    image, alpha, found = gradients(replace(ride, rigged=none, residual=ride.residual[:0]))
    assert torch.equal(image, ride.backgrounds.expand_as(image)) and alpha.sum() == 0
    assert found["offsets"].shape == (0, 3) and found["vertices"].abs().sum() == 0


def test_operator_is_registered_as_torch_wants() -> None:
    ride, _ = make_ride(10).leaves()
    r = ride.rigged
    local = [getattr(r, name) for name in LOCAL]
    cameras = [t[None] for t in (ride.viewmats, ride.Ks, ride.backgrounds)]
    cameras = [t.detach().requires_grad_(t.requires_grad) for t in cameras]
    moving = [t[None].detach().requires_grad_() for t in (ride.vertices, ride.residual)]
    mesh = (r.corners, r.barycentric, r.rest_sizes, r.units, list(STRETCH_RANGE))
    arguments = (*moving, *local, *cameras, *mesh, 20, 18, 0.01, 0.3, 0.999, 1, "")
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(_rigged.render, arguments, test_utils=checks)


def test_states_are_given_back() -> None:
    held = len(_native.state_leases._held)
    rendered = make_ride(5).leaves()[0].render()
    assert len(_native.state_leases._held) == held + 1
    del rendered
    assert len(_native.state_leases._held) == held


@pytest.mark.parametrize("name", [*LOCAL, "barycentric", "rest_sizes", "vertices", "residual", "viewmats", "Ks"])
def test_refuses_numbers_that_are_not_finite(name: str) -> None:
    ride = make_ride(20)
    owner = ride if hasattr(ride, name) else ride.rigged
    bad = getattr(owner, name).clone()
    bad.view(-1)[: 90 if name == "vertices" else 1] = math.nan
    broken = (
        replace(ride, **{name: bad}) if owner is ride else replace(ride, rigged=replace(ride.rigged, **{name: bad}))
    )
    with pytest.raises(InputError, match=rf"rasterize_rigged cannot use `{name}`[\s\S]*Found: nan"):
        broken.render()


@pytest.mark.parametrize("vertex", [-1, 30, 2**31 - 1])
def test_refuses_corners_that_are_no_vertices(vertex: int) -> None:
    ride = make_ride(20)
    corners = ride.rigged.corners.clone()
    corners[7, 2] = vertex
    with pytest.raises(InputError) as error:
        replace(ride, rigged=replace(ride.rigged, corners=corners)).render()
    assert str(error.value) == (
        "rasterize_rigged cannot use `corners`.\n"
        "  Expected: vertices 0 to 29.\n"
        f"  Found: {vertex} at [7, 2], and 0 more like it."
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"quats": torch.zeros(20, 3)}, r"`quats`[\s\S]*\(20, 4\)[\s\S]*\(20, 3\)"),
        ({"corners": torch.zeros(20, 3, dtype=torch.long)}, r"`corners`[\s\S]*int32[\s\S]*int64"),
        ({"units": torch.zeros(20, 10, dtype=torch.float64)}, r"`units`[\s\S]*float32[\s\S]*float64"),
        ({"residual": torch.zeros(19, 10)}, r"`residual`[\s\S]*\(\.\.\., 20, 10\)[\s\S]*\(19, 10\)"),
        ({"vertices": torch.zeros(3)}, "`vertices`"),
        ({"residual": torch.zeros(2, 20, 10), "viewmats": torch.eye(4).repeat(3, 1, 1)}, "do not broadcast"),
    ],
)
def test_refuses_what_does_not_fit(changes: dict[str, Tensor], expected: str) -> None:
    ride = make_ride(20)
    for name, value in changes.items():
        ride = (
            replace(ride, **{name: value})
            if hasattr(ride, name)
            else replace(ride, rigged=replace(ride.rigged, **{name: value}))
        )
    with pytest.raises(InputError, match=expected):
        ride.render()
