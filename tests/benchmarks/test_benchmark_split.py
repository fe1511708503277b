"""The cost of a call is split among the parts that spent it. Speed is not tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import saltzoo


@pytest.fixture
def split(load_benchmark: Callable[[str], Any]) -> Any:
    return load_benchmark("measure.split")


class _Work(torch.autograd.Function):
    """Spends a given cost, and ten times as much in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, spent: list[int], cost: int) -> torch.Tensor:
        ctx.bill = spent, cost
        spent[0] += cost
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        spent, cost = ctx.bill
        spent[0] += 10 * cost
        return grad, None, None


class _Step(torch.nn.Module):
    def __init__(self, spent: list[int], cost: int, inner: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.bill, self.inner = (spent, cost), inner

    def forward(self, *maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = _Work.apply(self.weight * sum(maps), *self.bill)
        return x, x if self.inner is None else self.inner(x)[0]


class _Net(torch.nn.Module):
    """Steps with two outputs, a step inside another, a skip connection, and work outside every step."""

    def __init__(self, spent: list[int]) -> None:
        super().__init__()
        self.spent = spent
        self.stem, self.down = _Step(spent, 1), _Step(spent, 2)
        self.inner = _Step(spent, 4)
        self.up = _Step(spent, 8, self.inner)
        self.head = torch.nn.Sequential(_Step(spent, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip, x = self.stem(x)
        x = _Work.apply(sum(self.down(x)), self.spent, 32)
        x = _Work.apply(sum(self.up(skip, x)), self.spent, 64)
        return self.head(x)[1]


@pytest.mark.parametrize("backward", [False, True])
def test_a_call_is_split_among_its_parts(split: Any, backward: bool) -> None:
    spent = [0]
    net = _Net(spent)
    names = {net.stem: "stem", net.down: "down", net.inner: "inner", net.up: "up", net.head: "head", net.head[0]: "in"}
    meter = split.Meter(lambda: spent[0], lambda start, stop: stop - start)

    def call() -> None:
        y = net(torch.ones(2, 3))
        if backward:
            y.sum().backward()

    want = {"stem": 1, "down": 2, "inner": 4, "up": 8, "head": 0, "in": 16, "rest": 96}
    for _ in range(2):  # no state is carried over to the next call
        assert split.split(call, net, names, meter) == {name: cost * (1 + 10 * backward) for name, cost in want.items()}
    net(torch.ones(2, 3))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_operations_of_the_parts_sum_to_those_of_the_network(split: Any) -> None:
    net = saltzoo.create_model("pspunet_small_scse_gum", guide_channels=4).mask_only()
    named = split.parts_of(net)
    operations = split.operations(lambda: net(torch.randn(2, 1, 33, 33)), net, named)
    assert list(operations) == [
        "encoder.stem",
        *(f"encoder.stages.{index}" for index in range(3)),
        "decoder.context",
        *(f"decoder.steps.{index}" for index in range(3)),
        "all attention",
        "guided upsampling",
        "head",
        "pyramid pooling",
        "rest",
    ]
    assert sum(operations.values()) == 2 * saltzoo.cost(net, (33, 33)).flops
    assert operations["rest"] == 0
    assert min(value for part, value in operations.items() if part != "rest") > 0
