"""BAM against its formula, in both modes, and against the published number of parameters."""

import re

import pytest
import torch
import torch.nn.functional as F

from saltzoo.layers import BAM


def randomised(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=generator)
            elif tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.4)
    return module


def formula(weights, x, *, dilation, multiply, training):
    """x + x * sigmoid(Mc + Ms), or x + x * sigmoid(Mc * Ms) without the last norms."""
    w = {key: value.detach().clone() for key, value in weights.items()}

    def norm(x, name):
        return F.batch_norm(
            x, *(w[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")), training
        )

    mc = F.conv2d(F.adaptive_avg_pool2d(x, 1), w["squeeze.weight"][:, :, None, None])
    mc = F.relu(norm(mc, "squeeze_norm"))
    mc = F.conv2d(mc, w["excite.weight"][:, :, None, None], w.get("excite.bias"))
    ms = F.relu(norm(F.conv2d(x, w["spatial.0.conv.weight"]), "spatial.0.norm"))
    for step in ("spatial.1", "spatial.2"):
        ms = F.conv2d(ms, w[f"{step}.conv.weight"], padding=dilation, dilation=dilation)
        ms = F.relu(norm(ms, f"{step}.norm"))
    ms = F.conv2d(ms, w["spatial.3.weight"], w.get("spatial.3.bias"))
    if multiply:
        return x * (1 + torch.sigmoid(mc * ms))
    return x + x * torch.sigmoid(norm(mc, "excite_norm") + norm(ms, "spatial.4"))


@pytest.mark.parametrize(("channels", "reduction", "dilation"), [(32, 16, 4), (5, 16, 2)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gate", ["add", "mul"])
def test_agrees_with_the_formula(gate, training, channels, reduction, dilation):
    module = randomised(BAM(channels, reduction=reduction, dilation=dilation, gate=gate)).double().train(training)
    x = torch.randn(3, channels, 9, 7, dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    options = {"dilation": dilation, "multiply": gate == "mul", "training": training}
    want = formula(module.state_dict(), twin, **options)
    y = module(x)
    torch.testing.assert_close(y, want)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    (want * weight).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)


@pytest.mark.parametrize(("channels", "reduction"), [(48, 4), (8, 16)])
def test_number_of_parameters_is_that_of_the_paper(channels, reduction):
    hidden = max(1, channels // reduction)
    weights = 3 * channels * hidden + 18 * hidden**2 + hidden
    norms = 2 * 4 * hidden
    add, mul = (
        sum(p.numel() for p in BAM(channels, reduction=reduction, gate=gate).parameters()) for gate in ("add", "mul")
    )
    assert add == weights + norms + 2 * (channels + 1)
    assert mul == weights + norms + channels + 1


def test_parameters_added_to_a_resnet50_are_the_published_number():
    """25.56 M parameters become 25.92 M with a BAM after each of the first three stages (the paper's table)."""
    stages = (256, 512, 1024)
    added = sum(p.numel() for channels in stages for p in BAM(channels, gate="mul").parameters())
    biases = sum(4 * channels // 16 for channels in stages)  # the authors' layers before a norm have biases too
    assert round((25_557_032 + added + biases) / 1e6, 2) == 25.92


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gate": "max"}, "unknown gate 'max': choose one of 'add', 'mul'"),
        ({"dilation": 0}, "dilation must be at least 1, got 0"),
        ({"reduction": 0}, "reduction must be at least 1, got 0"),
    ],
)
def test_invalid_options_raise(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        BAM(8, **options)
