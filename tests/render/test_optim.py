"""The fused Adam against torch's."""

import copy

import pytest
import torch

from avatar.errors import InputError
from avatar.render import optim
from avatar.render.optim import FusedAdam, step_in_one_call

SHAPES = {"means": (1000, 3), "opacities": (777,), "scale": ()}


def parameters(dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=g).to(dtype).requires_grad_() for name, shape in SHAPES.items()}


def give_gradients(params, seed):
    g = torch.Generator().manual_seed(seed)
    for name, shape in SHAPES.items():
        scale = 10.0 ** (seed % 4 - 4)
        params[name].grad = (torch.randn(shape, generator=g) * scale).to(params[name].dtype)


def torch_adam(params, rates, eps):
    return torch.optim.Adam([{"params": [params[n]], "lr": rates[n]} for n in SHAPES], eps=eps)


RATES = {"means": 1e-3, "opacities": 5e-2, "scale": 0.1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [1e-8, 1e-15])
def test_takes_the_steps_of_torch(dtype, eps):
    ours, theirs = parameters(dtype), parameters(dtype)
    a, b = FusedAdam(ours, lrs=RATES, eps=eps, threads=2), torch_adam(theirs, RATES, eps)
    for step in range(30):
        if step == 15:
            a.group("means")["lr"] = b.param_groups[0]["lr"] = 3e-4
        give_gradients(ours, step)
        give_gradients(theirs, step)
        a.step()
        b.step()
    for name in SHAPES:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("eps", [1e-8, 1e-15])
def test_one_call_for_a_group_takes_the_same_steps(eps, monkeypatch):
    # What CUDA parameters take; torch's fused kernel also exists for the CPU.
    ours, theirs = parameters(), parameters()
    a, b = FusedAdam(list(ours.values()), 1e-2, eps=eps), torch.optim.Adam(list(theirs.values()), 1e-2, eps=eps)
    monkeypatch.setattr(optim, "_can_share_a_call", lambda param, *_: param.ndim > 0)
    calls = []
    monkeypatch.setattr(optim, "step_in_one_call", lambda *args: calls.append(len(args[0])) or step_in_one_call(*args))
    for step in range(20):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        a.step()
        b.step()
    for name in SHAPES:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=1e-6)
        assert a.state[ours[name]]["step"] == 20
    assert calls == [2] * 20


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_takes_the_same_steps_on_the_gpu(dtype, cuda):
    ours, theirs = parameters(dtype), parameters(dtype)
    ours = {name: t.detach().to(cuda).requires_grad_() for name, t in ours.items()}
    a, b = FusedAdam(ours, lrs=RATES, eps=1e-8), torch_adam(theirs, RATES, 1e-8)
    for step in range(30):
        give_gradients(theirs, step)
        for name, param in ours.items():
            param.grad = theirs[name].grad.to(cuda)
        a.step()
        b.step()
    for name in SHAPES:
        torch.testing.assert_close(ours[name].cpu(), theirs[name], atol=1e-6, rtol=1e-6)
        assert a.state[ours[name]]["step"].is_cuda


@pytest.mark.gpu
def test_resumes_on_the_gpu_from_the_cpu_and_back(cuda):
    straight = parameters()
    a = FusedAdam(straight, lrs=RATES)
    for step in range(6):
        give_gradients(straight, step)
        a.step()
    moved, holder = parameters(), parameters()
    b = FusedAdam(moved, lrs=RATES)
    for step in range(6):
        device = cuda if step in (2, 3) else torch.device("cpu")
        if device.type != moved["means"].device.type:
            state = copy.deepcopy(b.state_dict())
            moved = {name: t.detach().to(device).requires_grad_() for name, t in moved.items()}
            b = FusedAdam(moved)
            b.load_state_dict(state)
        give_gradients(holder, step)
        for name, param in moved.items():
            param.grad = holder[name].grad.to(device)
        b.step()
    for name in SHAPES:
        torch.testing.assert_close(moved[name], straight[name], atol=1e-6, rtol=1e-6)


@pytest.mark.gpu
def test_a_step_on_the_gpu_does_not_wait_for_it(cuda, refuse_waits):
    params = {name: t.detach().to(cuda).requires_grad_() for name, t in parameters().items()}
    optimizer = FusedAdam(params, lrs=RATES)
    for _ in range(2):
        for param in params.values():
            param.grad = torch.ones_like(param)
        with refuse_waits():
            optimizer.step()


def test_resumes_from_its_state_and_from_that_of_torch():
    straight = parameters()
    a = FusedAdam(straight, lrs=RATES)
    for step in range(10):
        give_gradients(straight, step)
        a.step()
    for make in (lambda p: FusedAdam(p, lrs=RATES), lambda p: torch_adam(p, RATES, 1e-15)):
        first = parameters()
        b = make(first)
        for step in range(5):
            give_gradients(first, step)
            b.step()
        second = {name: t.detach().clone().requires_grad_() for name, t in first.items()}
        c = FusedAdam(second)
        c.load_state_dict(copy.deepcopy(b.state_dict()))
        for step in range(5, 10):
            give_gradients(second, step)
            c.step()
        for name in SHAPES:
            torch.testing.assert_close(second[name], straight[name], atol=1e-6, rtol=1e-6)


def test_threads_do_not_change_a_bit():
    results = []
    for threads in (1, 2, 3):
        param = torch.linspace(-1, 1, 100_003).requires_grad_()
        optimizer = FusedAdam({"p": param}, threads=threads)
        param.grad = torch.linspace(2, -1, 100_003)
        optimizer.step()
        results.append(param.detach())
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_strided_parameters_take_the_same_step():
    plain = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    strided = plain.t().contiguous().t().requires_grad_()
    plain.requires_grad_()
    a, b = FusedAdam({"p": plain}), FusedAdam({"p": strided})
    for param in (plain, strided):
        param.grad = torch.linspace(-1, 1, 24).view(6, 4)
    a.step()
    b.step()
    torch.testing.assert_close(plain, strided)


def test_leaves_parameters_without_a_gradient_and_tells_autograd_of_the_others():
    params = parameters()
    before = params["opacities"].detach().clone()
    optimizer = FusedAdam(params)
    loss = params["means"].square().sum()
    params["means"].grad = torch.ones(1000, 3)
    optimizer.step()
    assert torch.equal(params["opacities"], before)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_refuses_names_it_does_not_know():
    with pytest.raises(InputError, match="colours"):
        FusedAdam(parameters(), lrs={"colours": 1.0})
    with pytest.raises(InputError, match="means, opacities, scale"):
        FusedAdam(parameters()).group("colours")


def test_an_outer_gradient_is_the_gradient_it_stands_for():
    g = torch.Generator().manual_seed(3)
    start = torch.randn(700, 10, 7, generator=g)
    params = [start.clone().requires_grad_() for _ in range(4)]
    optimizers = [
        FusedAdam([param], lr=1e-2, threads=threads) for param, threads in zip(params, (1, 1, 2, 1), strict=True)
    ]
    for _ in range(3):
        rows, columns = torch.randn(700, 10, generator=g), torch.randn(7, generator=g)
        params[0].grad = rows[..., None] * columns
        optimizers[1].set_outer_gradient(params[1], rows, columns)
        optimizers[2].set_outer_gradient(params[2], rows, columns)
        params[3].grad = params[0].grad / 2
        optimizers[3].set_outer_gradient(params[3], rows / 2, columns)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(params[1], params[0]) and torch.equal(params[2], params[0])
    torch.testing.assert_close(params[3], params[0])
    kept = params[1].detach().clone()
    optimizers[1].step()
    assert torch.equal(params[1], kept), "a step without a gradient must change nothing"


def test_an_outer_gradient_must_fit():
    param = torch.zeros(5, 10, 7, requires_grad=True)
    with pytest.raises(InputError, match=r"\(5, 10, 7\)[\s\S]*rows \(5, 7\) and columns \(10,\)"):
        FusedAdam([param]).set_outer_gradient(param, torch.zeros(5, 7), torch.zeros(10))
