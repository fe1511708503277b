"""Residual blocks with pre-activation against their formula, and the order of their layers."""

import copy

import pytest
import torch
import torch.nn.functional as F
from _proofs import randomise_vectors

from saltzoo.layers import PreActResidual, PreActStage


def norm(x, layer, training):
    """Batch norm by its definition."""
    mean, variance = layer.running_mean, layer.running_var
    if training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    scaled = (x - mean[:, None, None]) / (variance[:, None, None] + layer.eps).sqrt()
    return scaled * layer.weight[:, None, None] + layer.bias[:, None, None]


def conv(x, layer):
    """A 3x3 convolution as nine shifted products."""
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    y = sum(
        torch.einsum("nchw,oc->nohw", padded[..., i : i + height, j : j + width], layer.weight[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )
    return y if layer.bias is None else y + layer.bias[:, None, None]


def reference(block, x, slope, training):
    """x + W2 f(W1 f(x)), where f is batch norm and activation: figure 1 (b) of the paper."""

    def f(y, layer):
        y = norm(y, layer, training)
        return torch.where(y > 0, y, slope * y)

    return x + conv(f(conv(f(x, block.norm1), block.conv1), block.norm2), block.conv2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_agrees_with_the_formula(slope, bias, training):
    torch.manual_seed(0)
    block = randomise_vectors(PreActResidual(5, slope=slope, bias=bias)).double().train(training)
    x = torch.randn(2, 5, 7, 6, dtype=torch.float64)
    torch.testing.assert_close(block(x), reference(copy.deepcopy(block), x, slope, training))


def test_a_stage_is_convolution_blocks_norm_and_activation():
    torch.manual_seed(0)
    stage = randomise_vectors(PreActStage(3, 4, blocks=2, slope=0.1, bias=True)).double().eval()
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    want = conv(x, stage.conv)
    for block in stage.blocks:
        want = reference(block, want, 0.1, training=False)
    want = norm(want, stage.norm, training=False)
    torch.testing.assert_close(stage(x), torch.where(want > 0, want, 0.1 * want))


def test_does_not_modify_its_input():
    """Activations work in place, but the input may also be a skip."""
    block, x = PreActResidual(4), torch.randn(2, 4, 5, 5)
    before = x.clone()
    block(x)
    assert torch.equal(x, before)


def test_first_derivatives():
    torch.manual_seed(1)
    block = randomise_vectors(PreActResidual(2, slope=0.1)).double().eval()
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


@pytest.mark.parametrize("bias", [False, True])
def test_initial_weights_keep_the_variance_of_the_branch_near_one(bias):
    torch.manual_seed(0)
    block = PreActResidual(64, slope=0.1, bias=bias)
    x = torch.randn(4, 64, 24, 24)
    branch = block(x) - x
    assert 0.7 < branch.var() < 1.3
    assert all(not layer.bias.any() for layer in (block.conv1, block.conv2) if bias)


def test_keeps_channels_last():
    stage = PreActStage(3, 8).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 9, 7)
    y = stage(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_compiles_to_one_graph_with_free_sizes():
    torch._dynamo.reset()
    stage = randomise_vectors(PreActStage(2, 4)).eval()
    fast = torch.compile(stage, fullgraph=True, dynamic=True, backend="eager")
    for shape in ((2, 2, 8, 9), (1, 2, 13, 5)):
        x = torch.randn(shape)
        torch.testing.assert_close(fast(x), stage(x))


def test_every_parameter_gets_a_gradient_from_one_image_under_autocast():
    stage = PreActStage(2, 4, slope=0.1, bias=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = stage(torch.randn(1, 2, 9, 11))
    y.float().square().mean().backward()
    assert [n for n, p in stage.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
