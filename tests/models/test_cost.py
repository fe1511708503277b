"""cost: against counts by hand, counts of the layers' shapes, and published numbers."""

import re

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import saltzoo
from saltzoo import create_model
from saltzoo.models import Segmenter
from saltzoo.models.cost import Cost, cost


class Encoder(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return [self.net(x)]


class Decoder(nn.Module):
    def forward(self, features, size):
        return features


class Head(nn.Module):
    reads_image = False

    def forward(self, maps, size, image=None):
        return maps[-1]


def model_of(net, *, in_chans):
    return Segmenter(Encoder(net), Decoder(), Head(), in_chans=in_chans)


def on_meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def counted_by_hooks(model, x):
    """Multiply-adds, twice, of every convolution and linear layer, from the shapes that it saw."""
    flops = []

    def hook(module, args, output):
        if isinstance(module, nn.ConvTranspose2d):
            flops.append(2 * args[0].numel() * module.weight[0].numel())
        elif isinstance(module, nn.Conv2d):
            flops.append(2 * output.numel() * module.weight[0].numel())
        elif isinstance(module, nn.Linear):
            flops.append(2 * output.numel() * module.in_features)

    handles = [module.register_forward_hook(hook) for module in model.modules()]
    with torch.no_grad():
        model.eval()(x)
    for handle in handles:
        handle.remove()
    return sum(flops)


@pytest.mark.parametrize(
    ("net", "size", "parameters", "flops"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (40, 33), 8 * (27 + 1), 2 * 27 * 8 * 40 * 33),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), (101, 101), 8 * 27, 2 * 27 * 8 * 51 * 51),
        (nn.Conv2d(3, 9, 5, groups=3), (36, 36), 9 * (25 + 1), 2 * 25 * 9 * 32 * 32),
        (nn.Conv2d(3, 4, 3, dilation=2), (36, 34), 4 * (27 + 1), 2 * 27 * 4 * 32 * 30),
        (nn.ConvTranspose2d(3, 5, 2, stride=2), (32, 32), 3 * 5 * 4 + 5, 2 * 3 * 5 * 4 * 32 * 32),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2)), (32, 32), 6, 0),
    ],
    ids=lambda value: str(value)[:30],
)
def test_counts_as_by_hand(net, size, parameters, flops):
    assert cost(model_of(net, in_chans=3), size) == Cost(parameters, flops)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet_plain", {"channels": (8, 12, 16)}),
        ("frrn_a", {"base_channels": 6, "lane_channels": 4}),
        ("resunet_101", {"base_channels": 4, "num_classes": 3}),
        ("saltnet_s", {"attention": "none", "channels": (8, 16, 24), "decoder_channels": (16, 8)}),
    ],
)
def test_counts_what_the_layers_saw(name, options):
    model = create_model(name, in_chans=2, **options)
    want = counted_by_hooks(model, torch.randn(1, 2, 53, 66))
    assert cost(model, (53, 66)).flops == want > 1e6


def test_attention_counts_too():
    """Although scSE computes in an autograd function of its own: two linear layers, and a sum over channels."""
    channels = (8, 16, 24)
    sizes = [(51 * 51), (26 * 26), (13 * 13)]
    options = {"channels": channels, "decoder_channels": (16, 8)}
    gates = cost(on_meta("saltnet_s", **options)).flops
    plain = cost(on_meta("saltnet_s", attention="none", **options)).flops
    # C -> C/2 -> C, and C -> 1 at every pixel
    assert gates - plain == sum(
        2 * (c * c // 2) * 2 + 2 * c * pixels for c, pixels in zip(channels, sizes, strict=True)
    )


def test_a_real_model_costs_what_a_shapeless_one_does():
    real = create_model("saltnet_s")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        real.eval()(torch.randn(1, 1, 101, 101))
    assert cost(real) == cost(on_meta("saltnet_s")) == Cost(2_352_216, counter.get_total_flops())


def test_the_cost_grows_with_the_image():
    model = on_meta("unet_plain", channels=(8, 16))
    assert cost(model, (64, 64)).flops == 4 * cost(model, (32, 32)).flops
    assert cost(model, (64, 32)) == cost(model, [32, 64])


@pytest.mark.parametrize(
    ("name", "size", "gflops"),
    [
        ("saltnet_s", (101, 101), 1.12),
        ("saltnet_m", (101, 101), 6.8 / 3),  # a training step is three forward passes
        ("unet_resnet34_scse", (101, 101), 8.4 / 3),
        ("pspunet_small_scse", (129, 129), 2 * (4.81 - 4.07)),
    ],
)
def test_agrees_with_what_was_measured_elsewhere(name, size, gflops):
    assert cost(on_meta(name), size).flops / 1e9 == pytest.approx(gflops, rel=0.03)


def test_leaves_the_model_as_it_was():
    model = create_model("saltnet_s", channels=(8, 16), decoder_channels=(8,)).train()
    model.encoder.stem.norm.eval()
    modes = [module.training for module in model.modules()]
    state = {name: (tensor.clone(), tensor.data_ptr()) for name, tensor in model.state_dict().items()}
    cost(model)
    assert [module.training for module in model.modules()] == modes
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name][0])
        assert tensor.data_ptr() == state[name][1]
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ValueError, match="at least 32 x 32, got 31 x 64"):
        cost(model, (31, 64))
    assert [module.training for module in model.modules()] == modes


def test_any_dtype_and_place():
    want = cost(on_meta("saltnet_s"))
    assert cost(on_meta("saltnet_s").to(torch.bfloat16)) == want
    with torch.device("meta"):
        assert cost(create_model("saltnet_s")) == want
    with torch.autocast("cpu", torch.bfloat16):
        assert cost(on_meta("saltnet_s")) == want


def test_only_the_mask_costs_less():
    model = on_meta("unet_plain", channels=(8, 16), deep_supervision=True)
    whole, mask = cost(model), cost(model.mask_only())
    # Two 1x1 convolutions: from 8 channels at full size, the decoder's only map
    assert (whole.parameters - mask.parameters, whole.flops - mask.flops) == (8 + 1, 2 * 8 * 101 * 101)


@pytest.mark.parametrize("size", [101, (101,), (1, 101, 101), "101"])
def test_a_size_is_two_numbers(size):
    with pytest.raises(
        ValueError, match=re.escape(f"size must be H and W of the image, such as (101, 101), got {size!r}")
    ):
        cost(on_meta("saltnet_s"), size)


def test_cost_is_a_public_name():
    assert saltzoo.cost is cost
