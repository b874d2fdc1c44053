"""What keeps Gaussians in place."""

from copy import deepcopy

import pytest
import torch

from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.fields.regularizers import FREE_DISTANCE, FREE_SCALE, KEPT, Regularizer


def test_only_what_no_frame_shows_is_kept_as_it_started(tiny_gaussians: GaussianHead) -> None:
    count = len(tiny_gaussians)
    regions = tiny_gaussians.regions.clone()
    regions[: count // 2] = REGIONS.index("unseen")
    head = GaussianHead(
        tiny_gaussians.head,
        tiny_gaussians.betas,
        tiny_gaussians.torso_vertices,
        tiny_gaussians.torso_faces,
        tiny_gaussians.condition,
        triangles=tiny_gaussians.triangles,
        barycentric=tiny_gaussians.barycentric,
        regions=regions,
    )
    penalty, still = Regularizer(head), torch.zeros(count, 10)
    before = penalty(head, still)
    with torch.no_grad():
        head.color_logits[count // 2 :] += 1
        assert torch.equal(penalty(head, still), before)
        head.color_logits[: count // 2] += 1
    after = penalty(head, still)
    torch.testing.assert_close(after - before, torch.tensor(KEPT["color_logits"] / 2), rtol=1e-3, atol=1e-6)
    after.backward()
    assert head.color_logits.grad is not None
    assert (head.color_logits.grad[: count // 2] > 0).all() and not head.color_logits.grad[count // 2 :].any()


def test_what_has_moved_is_judged_by_where_it_is_now(tiny_gaussians: GaussianHead) -> None:
    head = deepcopy(tiny_gaussians)
    penalty = Regularizer(head)
    before = penalty.scale.clone()
    penalty.follow(head)
    assert torch.equal(penalty.scale, before)
    barycentric, regions = head.barycentric.clone(), head.regions.clone()
    barycentric[3] = torch.tensor([0.2, 0.3, 0.5])
    regions[3] = REGIONS.index("eyes")
    head.rebind(head.triangles.clone(), barycentric, regions)
    penalty.follow(head)
    assert float(penalty.scale[3]) == pytest.approx(FREE_SCALE["eyes"])
    assert float(penalty.distance[3]) == pytest.approx(FREE_DISTANCE["eyes"])
    others = torch.arange(len(head)) != 3
    assert torch.equal(penalty.scale[others], before[others])
