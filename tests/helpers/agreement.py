"""The rasteriser's kernels beside the reference in double precision."""

from unittest import mock

import torch

from avatar.render import _cpu, _reference

NAMES = ("means", "quats", "scales", "opacities", "colors", "viewmats")


def render_cpu(leaves, Ks, width, height, *, background=None, threads=1, isa="", near=0.01, eps2d=0.3, alpha_max=0.999):
    """The operator itself on one camera, which lets a test choose the instruction set."""
    background = torch.zeros(3) if background is None else background
    arguments = [t[None] for t in (*leaves, Ks, background)]
    image, alpha, _ = _cpu.render(*arguments, width, height, near, eps2d, alpha_max, threads, isa)
    return image[0], alpha[0]


def assert_agree(scene, width: int, height: int, *, isa="", value=2e-5, gradient=2e-4, where=None, **settings):
    """Values agree to `value`; each gradient to `gradient` of its own norm plus a little of the largest.

    `where` (H, W) limits it to some pixels.
    """
    g = torch.Generator().manual_seed(7)
    v_image, v_alpha = torch.randn(height, width, 3, generator=g), torch.randn(height, width, 1, generator=g)
    where = torch.ones(height, width, dtype=torch.bool) if where is None else where
    v_image, v_alpha = (torch.where(where[..., None], v, 0.0) for v in (v_image, v_alpha))
    background = torch.tensor([0.2, 0.3, 0.4])
    ours, theirs = scene.leaves(), scene.to(torch.float64).leaves()
    ours_bg, theirs_bg = background.clone().requires_grad_(), background.double().requires_grad_()
    image, alpha = render_cpu(ours, scene.Ks, width, height, background=ours_bg, isa=isa, **settings)
    expected = _reference.rasterize_reference(
        *theirs, scene.Ks.double(), width, height, background=theirs_bg, **settings
    )
    torch.testing.assert_close(image[where].double(), expected[0][where], atol=value, rtol=value)
    torch.testing.assert_close(alpha[where].double(), expected[1][where], atol=value, rtol=value)
    ((image * v_image).sum() + (alpha * v_alpha).sum()).backward()
    ((expected[0] * v_image).sum() + (expected[1] * v_alpha).sum()).backward()
    for name, a, b in zip((*NAMES, "backgrounds"), (*ours, ours_bg), (*theirs, theirs_bg), strict=True):
        error, size = (a.grad.double() - b.grad).norm(), b.grad.norm()
        assert error <= gradient * size + 1e-6, f"{name}: error {error:.2e} of {size:.2e}"


def pixels_without_a_close_call(scene, width: int, height: int) -> torch.Tensor:
    """Where (H, W) the image does not hang on a rounding: on whether an alpha reaches 1/255, or a pixel its stop.

    There the reference changes by no more than a rounding when both thresholds are moved by a little.
    """
    arguments = (*scene.to(torch.float64).leaves(), scene.Ks.double(), width, height)
    with torch.no_grad():
        results = []
        for change in (1 - 1e-4, 1 + 1e-4):
            thresholds = {name: getattr(_reference, name) * change for name in ("MIN_ALPHA", "MIN_TRANSMITTANCE")}
            with mock.patch.multiple(_reference, **thresholds):
                results.append(torch.cat(_reference.rasterize_reference(*arguments), -1))
    return (results[0] - results[1]).abs().amax(-1) < 1e-7
