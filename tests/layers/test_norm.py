"""Batch norm: the running statistics for a single value, torch's batch norm otherwise."""

import copy
import re

import pytest
import torch
from torch import nn

from saltzoo.layers import PooledBatchNorm

MANY = [(2, 5, 1, 1), (1, 5, 1, 2), (3, 5, 4, 7)]


def randomised(norm):
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
def test_agrees_with_torch_for_two_or_more_values(shape, training):
    ours = randomised(PooledBatchNorm(5)).train(training)
    theirs = nn.BatchNorm2d(5).train(training)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape)
    assert torch.equal(ours(x), theirs(x))
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key
    assert ours.num_batches_tracked == int(training)


@pytest.mark.parametrize("training", [True, False])
def test_vectors_agree_with_batch_norm_1d(training):
    ours = randomised(PooledBatchNorm(5)).train(training)
    theirs = nn.BatchNorm1d(5).train(training)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 5)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)


@pytest.mark.parametrize("shape", [(1, 5), (1, 5, 1, 1)])
def test_one_value_is_normalised_by_the_running_statistics(shape):
    norm = randomised(PooledBatchNorm(5, eps=0.1)).train()
    before = state_of(norm)
    x = torch.randn(shape)
    y = norm(x)
    want = (x.flatten() - norm.running_mean) / (norm.running_var + 0.1).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(y, want.view(shape))
    for key, value in norm.state_dict().items():
        assert torch.equal(value, before[key]), key
    with pytest.raises(ValueError, match="more than 1 value"):  # torch's error, which this layer avoids
        nn.BatchNorm1d(5).train()(x.view(1, 5))


def test_one_value_gives_gradients():
    norm = randomised(PooledBatchNorm(3)).train()
    x = torch.randn(1, 3, requires_grad=True)
    norm(x).square().sum().backward()
    for tensor in (x, norm.weight, norm.bias):
        assert tensor.grad.all()


def test_evaluation_does_not_change_the_statistics():
    norm = randomised(PooledBatchNorm(3)).eval()
    before = state_of(norm)
    norm(torch.randn(4, 3, 2, 2))
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())


@pytest.mark.parametrize("shape", [(5,), (2, 5, 3), (2, 4), (2, 4, 3, 3)])
def test_input_of_another_shape_raises(shape):
    with pytest.raises(ValueError, match=re.escape(f"expected N 5 or N 5 H W, got {shape}")):
        PooledBatchNorm(5)(torch.zeros(shape))


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("training", [True, False])
def test_compiles_to_one_graph_for_one_and_for_many_values(training, dynamic):
    torch._dynamo.reset()
    norm = randomised(PooledBatchNorm(5)).train(training)
    twin = copy.deepcopy(norm)
    fast = torch.compile(norm, fullgraph=True, backend="eager", dynamic=dynamic)
    for shape in ((1, 5), (2, 5), (7, 5), (1, 5, 1, 1), (1, 5, 2, 3)):
        x = torch.randn(shape)
        torch.testing.assert_close(fast(x), twin(x))
    torch.testing.assert_close(norm.running_var, twin.running_var)


@pytest.mark.slow
def test_exports_with_a_free_batch():
    norm = randomised(PooledBatchNorm(5)).eval()
    program = torch.export.export(norm, (torch.randn(2, 5),), dynamic_shapes=({0: torch.export.Dim("n")},))
    for count in (1, 4):
        x = torch.randn(count, 5)
        torch.testing.assert_close(program.module()(x), norm(x))
