"""Normalised gradients: unit length at any scale, with closures, schedulers and scalers, without synchronisation."""

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo.training import normalized_gradient

OPTIMIZERS = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01),
    "fused": lambda params: torch.optim.AdamW(params, lr=0.01, fused=True),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.01),
}


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))


def batches(count=4):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 1, 4, 4, generator=generator) for _ in range(count)]


def step_of(gradients):
    """Return what SGD at rate 1 subtracts."""
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    normalized_gradient(torch.optim.SGD(parameters, lr=1.0)).step()
    return [-parameter.detach() for parameter in parameters]


def by_hand(gradient):
    exact = gradient.double().numpy()
    largest = np.abs(exact).max(initial=0.0)
    if largest == 0:
        return torch.zeros_like(gradient, dtype=torch.float64)
    scaled = exact / largest
    return torch.from_numpy(scaled / np.sqrt((scaled**2).sum()))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    exponents=st.lists(st.integers(-37, 37), min_size=1, max_size=4),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_each_tensor_has_length_1_at_any_scale(seed, exponents, dtype):
    generator = torch.Generator().manual_seed(seed)
    gradients = [
        (torch.randn(int(k % 5 + 1), 3, generator=generator, dtype=torch.float64).clamp(-9, 9) * 10.0**k).to(dtype)
        for k in exponents
    ]
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]
    for step, gradient in zip(step_of(gradients), gradients, strict=True):
        assert step.dtype == dtype
        torch.testing.assert_close(step.double(), by_hand(gradient), rtol=0, atol=tolerance)


def test_half_precision_neither_overflows_nor_underflows():
    gradients = [torch.full((100, 100), 60000.0).half(), torch.full((100, 100), 6e-5).half(), torch.zeros(3).half()]
    large, small, zero = step_of(gradients)
    torch.testing.assert_close(large.float(), torch.full((100, 100), 0.01), rtol=1e-2, atol=0)
    torch.testing.assert_close(small.float(), torch.full((100, 100), 0.01), rtol=1e-2, atol=0)
    assert torch.equal(zero, torch.zeros(3).half())


def test_zeros_stay_zero_and_parameters_without_gradient_do_not_change():
    zero, none, real = (nn.Parameter(torch.ones(3)) for _ in range(3))
    zero.grad, real.grad = torch.zeros(3), torch.tensor([0.0, 0.0, 5.0])
    optimizer = normalized_gradient(torch.optim.SGD([{"params": [zero, none]}, {"params": [real]}], lr=1.0))
    optimizer.step()
    assert torch.equal(zero, torch.ones(3))
    assert torch.equal(none, torch.ones(3))
    assert torch.equal(real.detach(), torch.tensor([1.0, 1.0, 0.0]))


def test_one_optimiser_takes_mixed_dtypes():
    steps = step_of([torch.full((4,), 3.0), torch.full((4,), 3.0).double(), torch.full((4,), 3.0).bfloat16()])
    for step in steps:
        torch.testing.assert_close(step.double(), torch.full((4,), 0.5).double())


def trained(make, *, scale=1.0, wrap=normalized_gradient, by_closure=False):
    net = small_net()
    optimizer = wrap(make(net.parameters()))
    for x in batches():

        def closure(x=x):
            optimizer.zero_grad()
            loss = net(x).square().sum() * scale
            loss.backward()
            return loss

        if by_closure:
            assert optimizer.step(closure).item() > 0
        else:
            closure()
            optimizer.step()
    return net.state_dict()


def assert_same(first, second, **tolerance):
    for name in first:
        torch.testing.assert_close(first[name], second[name], **tolerance)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_equals_that_with_gradients_divided_by_hand(make):
    net = small_net()
    optimizer = make(net.parameters())
    for x in batches():
        optimizer.zero_grad()
        net(x).square().sum().backward()
        for parameter in net.parameters():
            parameter.grad /= torch.linalg.vector_norm(parameter.grad)
        optimizer.step()
    assert_same(trained(make), net.state_dict(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_scale_of_the_loss_does_not_matter(make):
    assert_same(trained(make), trained(make, scale=1024.0), rtol=1e-4, atol=1e-6)
    plain = trained(OPTIMIZERS["sgd"], wrap=lambda optimizer: optimizer)
    other = trained(OPTIMIZERS["sgd"], wrap=lambda optimizer: optimizer, scale=1.5)
    assert not torch.allclose(plain["0.weight"], other["0.weight"], rtol=1e-3)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_closure_gives_the_same_weights(make):
    assert_same(trained(make), trained(make, by_closure=True), rtol=0, atol=0)


def test_an_optimiser_that_calls_its_closure_many_times():
    def by_lbfgs(normalize):
        net = small_net().double()
        optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=4)
        if not normalize:
            normalized_gradient(optimizer)

        def closure():
            optimizer.zero_grad()
            loss = net(batches()[0].double()).square().sum()
            loss.backward()
            if normalize:
                for parameter in net.parameters():
                    parameter.grad /= torch.linalg.vector_norm(parameter.grad)
            return loss

        optimizer.step(closure=closure)
        return net.state_dict()

    assert_same(by_lbfgs(True), by_lbfgs(False), rtol=1e-3, atol=1e-5)


def test_schedulers_work_without_a_warning():
    parameter = nn.Parameter(torch.zeros(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = normalized_gradient(torch.optim.SGD([parameter], lr=1.0))
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        for _ in range(3):
            parameter.grad = torch.tensor([0.0, 7.0])
            optimizer.step()
            scheduler.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.0, -1.75]))
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_the_optimiser_is_the_same_object_with_a_plain_state():
    net = small_net()
    plain = torch.optim.AdamW(net.parameters(), lr=0.01)
    assert normalized_gradient(plain) is plain
    net(batches()[0]).square().sum().backward()
    plain.step()
    fresh = torch.optim.AdamW(net.parameters(), lr=0.5)
    fresh.load_state_dict(plain.state_dict())
    assert fresh.param_groups[0]["lr"] == 0.01
    plain.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_resumed_run_equals_an_uninterrupted_one():
    make = OPTIMIZERS["adamw"]
    net = small_net()
    optimizer = normalized_gradient(make(net.parameters()))
    for position, x in enumerate(batches()):
        if position == 2:
            state, net = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(net)
            optimizer = normalized_gradient(make(net.parameters()))
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()
    assert_same(trained(make), net.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["sgd", "fused"])
def test_a_gradient_scaler_that_unscales_first_gives_the_same_weights(name):
    net = small_net()
    optimizer = normalized_gradient(OPTIMIZERS[name](net.parameters()))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for x in batches():
        optimizer.zero_grad()
        scaler.scale(net(x).square().sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    assert_same(trained(OPTIMIZERS[name]), net.state_dict(), rtol=1e-4, atol=1e-6)


def test_nothing_synchronises_with_the_device():
    """The meta device has no values, so reading one raises."""
    parameter = nn.Parameter(torch.zeros(3, 2, device="meta"))
    with pytest.raises((RuntimeError, NotImplementedError)):
        parameter.sum().item()
    parameter.grad = torch.ones_like(parameter)
    normalized_gradient(torch.optim.SGD([parameter], lr=1.0)).step()
