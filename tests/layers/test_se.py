"""Channel and pixel gates: against timm and segmentation_models_pytorch under the same weights."""

import re

import pytest
import torch
from segmentation_models_pytorch.base.modules import SCSEModule
from timm.layers.squeeze_excite import SEModule

from saltzoo.layers import ChannelSE, SpatialSE


def randomised(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


def copied(pairs):
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.weight.copy_(ours.weight.reshape(theirs.weight.shape))
            theirs.bias.copy_(ours.bias)


def agree(ours, theirs, pairs, x):
    """Assert the same output, and the same gradients of the input and of every weight."""
    copied(pairs)
    x, twin = x.requires_grad_(), x.detach().clone().requires_grad_()
    y, want = ours(x), theirs(twin)
    torch.testing.assert_close(y, want)
    assert not torch.allclose(y, x * 0.5)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    (want * weight).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    for layer, own in pairs:
        torch.testing.assert_close(own.weight.grad.reshape(layer.weight.shape), layer.weight.grad)
        torch.testing.assert_close(own.bias.grad, layer.bias.grad)


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(64, 16, 4), (5, 16, 1)])
def test_the_channel_gate_agrees_with_timm(channels, reduction, hidden):
    ours = randomised(ChannelSE(channels, reduction=reduction)).double()
    theirs = SEModule(channels, rd_channels=hidden).double()
    pairs = [(theirs.fc1, ours.squeeze), (theirs.fc2, ours.excite)]
    agree(ours, theirs, pairs, torch.randn(3, channels, 6, 7, dtype=torch.float64))


def test_both_gates_agree_with_segmentation_models_pytorch():
    theirs = SCSEModule(32, reduction=4).double()
    channel, pixel = randomised(ChannelSE(32, reduction=4)).double(), randomised(SpatialSE(32)).double()
    x = torch.randn(2, 32, 7, 5, dtype=torch.float64)
    pairs = [(theirs.cSE[1], channel.squeeze), (theirs.cSE[3], channel.excite)]
    agree(channel, lambda x: x * theirs.cSE(x), pairs, x.clone())
    agree(pixel, lambda x: x * theirs.sSE(x), [(theirs.sSE[0], pixel.spatial)], x.clone())


def test_both_gates_agree_with_the_formula_for_one_channel():
    channel, pixel = ChannelSE(1), SpatialSE(1)
    with torch.no_grad():
        for layer, weight in ((channel.squeeze, 2.0), (channel.excite, 0.5), (pixel.spatial, 3.0)):
            layer.weight.fill_(weight)
            layer.bias.fill_(1.0)
    x = torch.tensor([[[[1.0, 3.0]]]])
    torch.testing.assert_close(channel(x), x * torch.sigmoid(torch.tensor(0.5 * (2 * 2 + 1) + 1)))
    torch.testing.assert_close(pixel(x), x * torch.sigmoid(3 * x + 1))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ChannelSE(0), "channels must be at least 1, got 0"),
        (lambda: ChannelSE(4, reduction=0), "reduction must be at least 1, got 0"),
        (lambda: SpatialSE(0), "channels must be at least 1, got 0"),
    ],
)
def test_invalid_options_raise(build, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        build()


def test_pooling_does_not_overflow_in_float16():
    module = randomised(ChannelSE(4)).half()
    x = torch.full((1, 4, 64, 64), 100.0, dtype=torch.float16)
    assert torch.isfinite(module(x)).all()
