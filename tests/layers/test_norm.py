"""Batch norm of a single value: torch's own everywhere else, and the running statistics there."""

import copy
import re

import pytest
import torch
from torch import nn

from saltzoo.layers import PooledBatchNorm

MANY = [(2, 5, 1, 1), (1, 5, 1, 2), (1, 5, 3, 1), (3, 5, 4, 7)]


def woken(norm):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        norm.running_var.uniform_(0.5, 2, generator=generator)
    return norm


def state_of(norm):
    return {key: value.clone() for key, value in norm.state_dict().items()}


@pytest.mark.parametrize("shape", MANY)
@pytest.mark.parametrize("training", [True, False])
def test_is_torchs_where_a_channel_has_more_values_than_one(shape, training):
    ours = woken(PooledBatchNorm(5)).train(training)
    theirs = nn.BatchNorm2d(5).train(training)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape)
    assert torch.equal(ours(x), theirs(x))
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key
    assert ours.num_batches_tracked == int(training)


@pytest.mark.parametrize("training", [True, False])
def test_vectors_are_normed_as_by_batch_norm_1d(training):
    ours = woken(PooledBatchNorm(5)).train(training)
    theirs = nn.BatchNorm1d(5).train(training)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 5)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)


@pytest.mark.parametrize("shape", [(1, 5), (1, 5, 1, 1)])
def test_one_value_is_normed_by_the_running_statistics_and_leaves_them(shape):
    norm = woken(PooledBatchNorm(5, eps=0.1)).train()
    before = state_of(norm)
    x = torch.randn(shape)
    y = norm(x)
    want = (x.flatten() - norm.running_mean) / (norm.running_var + 0.1).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(y, want.view(shape))
    for key, value in norm.state_dict().items():
        assert torch.equal(value, before[key]), key
    with pytest.raises(ValueError, match="more than 1 value"):  # what it is there for
        nn.BatchNorm1d(5).train()(x.view(1, 5))


def test_one_value_still_teaches():
    norm = woken(PooledBatchNorm(3)).train()
    x = torch.randn(1, 3, requires_grad=True)
    norm(x).square().sum().backward()
    for tensor in (x, norm.weight, norm.bias):
        assert tensor.grad.all()


def test_a_frozen_norm_stays_frozen_in_a_network_that_trains():
    norm = woken(PooledBatchNorm(3)).eval()
    before = state_of(norm)
    norm(torch.randn(4, 3, 2, 2))
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())


@pytest.mark.parametrize("shape", [(5,), (2, 5, 3), (2, 4), (2, 4, 3, 3), (1, 2, 5, 3, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_refuses_other_shapes(shape, training):
    with pytest.raises(ValueError, match=re.escape(f"expected N 5 or N 5 H W, got {shape}")):
        PooledBatchNorm(5).train(training)(torch.zeros(shape))


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("training", [True, False])
def test_compiles_whole_for_one_value_and_for_many(training, dynamic):
    torch._dynamo.reset()
    norm = woken(PooledBatchNorm(5)).train(training)
    twin = copy.deepcopy(norm)
    fast = torch.compile(norm, fullgraph=True, backend="eager", dynamic=dynamic)
    for shape in ((1, 5), (2, 5), (7, 5), (1, 5, 1, 1), (1, 5, 2, 3)):
        x = torch.randn(shape)
        torch.testing.assert_close(fast(x), twin(x))
    torch.testing.assert_close(norm.running_var, twin.running_var)


def test_is_exported_with_a_free_batch():
    norm = woken(PooledBatchNorm(5)).eval()
    program = torch.export.export(norm, (torch.randn(2, 5),), dynamic_shapes=({0: torch.export.Dim("n")},))
    for count in (1, 4):
        x = torch.randn(count, 5)
        torch.testing.assert_close(program.module()(x), norm(x))
