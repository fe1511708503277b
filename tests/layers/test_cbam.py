"""CBAM against timm with the same weights, forward and backward, in both modes."""

import re

import pytest
import torch
from timm.layers.cbam import CbamModule

from saltzoo.layers import CBAM


def twins(channels, reduction, kernel_size):
    theirs = CbamModule(channels, rd_channels=max(1, channels // reduction), spatial_kernel_size=kernel_size)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.5)
        theirs.spatial.conv.bn.running_mean.normal_()
        theirs.spatial.conv.bn.running_var.uniform_(0.5, 2)
    ours = CBAM(channels, reduction=reduction, kernel_size=kernel_size)
    names = {
        "squeeze": "channel.fc1",
        "excite": "channel.fc2",
        "spatial": "spatial.conv.conv",
        "norm": "spatial.conv.bn",
    }
    state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        module, _, tensor = key.partition(".")
        value.copy_(state[f"{names[module]}.{tensor}"].reshape(value.shape))
    return ours.double(), theirs.double(), names


@pytest.mark.parametrize(("channels", "reduction", "kernel_size"), [(32, 16, 7), (5, 16, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_timm(training, channels, reduction, kernel_size):
    torch.manual_seed(0)
    ours, theirs, names = twins(channels, reduction, kernel_size)
    ours.train(training), theirs.train(training)
    x = torch.randn(3, channels, 9, 11, dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    y, want = ours(x), theirs(twin)
    torch.testing.assert_close(y, want)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    (want * weight).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    for name, parameter in ours.named_parameters():
        module, _, tensor = name.partition(".")
        wanted = theirs.get_parameter(f"{names[module]}.{tensor}").grad
        torch.testing.assert_close(parameter.grad, wanted.reshape(parameter.shape))
    torch.testing.assert_close(ours.norm.running_var, theirs.spatial.conv.bn.running_var)


def test_number_of_parameters():
    assert sum(p.numel() for p in CBAM(64).parameters()) == 2 * 64 * 4 + 2 * 7 * 7 + 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kernel_size": 2}, "kernel_size must be odd, so that H and W are kept, got 2"),
        ({"reduction": 0}, "reduction must be at least 1, got 0"),
    ],
)
def test_invalid_options_raise(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        CBAM(8, **options)
