"""Captured deformations against the avatar itself."""

import copy

import pytest
import torch

from avatar.errors import BackendError, InputError
from avatar.fields.gaussian_head import Pose
from avatar.gaussians import Gaussians
from avatar.render._graphs import CapturedDeformation, deformation

NAMES = ("means", "quats", "scales", "opacities", "colors")


class Swaying(torch.nn.Module):
    """A stand-in for an avatar: Gaussians that move with the pose, by matrix products and elementwise work."""

    def __init__(self, count: int = 100) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.offsets = torch.nn.Parameter(torch.randn(count, 3, generator=g))
        self.basis = torch.nn.Parameter(torch.randn(count * 3, 4, generator=g))

    def forward(self, pose: Pose) -> Gaussians:
        means = self.offsets + pose.transl + (self.basis @ pose.condition).view(-1, 3)
        quats = torch.nn.functional.normalize(torch.cat([means, means[:, :1] + 2], -1), dim=-1)
        return Gaussians(means, quats, means.square().exp(), means[:, 0].sigmoid(), means.sigmoid())


def poses(count: int) -> list[Pose]:
    g = torch.Generator().manual_seed(1)
    shapes = ((1, 6), (1, 5, 3), (1, 2), (1, 3), (1, 3), (4,))
    return [Pose(*(torch.randn(shape, generator=g) for shape in shapes)) for _ in range(count)]


def test_on_the_cpu_the_avatar_itself_is_called():
    avatar = Swaying()
    assert deformation(avatar) is avatar
    with pytest.raises(BackendError, match=r"an avatar on cpu[\s\S]*call the avatar itself"):
        CapturedDeformation(avatar)


@pytest.mark.gpu
def test_replays_are_what_the_avatar_gives(cuda):
    avatar = Swaying().to(cuda).requires_grad_(False)
    captured = deformation(avatar)
    assert isinstance(captured, CapturedDeformation)
    for step, pose in enumerate(poses(5)):
        if step == 3:
            avatar.offsets.add_(0.1)
        on_device = Pose(**{name: value.to(cuda) for name, value in vars(pose).items()})
        expected = avatar(on_device)
        for given in (pose, on_device):
            found = captured(given)
            for name in NAMES:
                torch.testing.assert_close(getattr(found, name), getattr(expected, name))


@pytest.mark.gpu
def test_refuses_a_pose_of_other_shapes(cuda):
    captured = CapturedDeformation(Swaying().to(cuda))
    first, second = poses(2)
    captured(first)
    with pytest.raises(InputError, match=r"`condition`[\s\S]*\(4,\)[\s\S]*\(3,\)"):
        captured(Pose(**(vars(second) | {"condition": torch.zeros(3)})))


@pytest.mark.gpu
def test_a_whole_avatar_is_captured(cuda, tiny_gaussians, tiny_motion):
    on_device = copy.deepcopy(tiny_gaussians).to(cuda)
    captured = deformation(on_device)
    for pose in tiny_gaussians.poses(tiny_motion)[:4]:
        expected, found = tiny_gaussians(pose), captured(pose)
        for name in NAMES:
            torch.testing.assert_close(getattr(found, name).cpu(), getattr(expected, name), atol=1e-4, rtol=1e-3)
