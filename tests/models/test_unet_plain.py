"""The U-Net of 2015: published parameters, and a transcription with copied weights."""

import re

import _proofs
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo import create_model
from saltzoo.layers import ATTENTIONS

SMALL = {"channels": (6, 8, 10, 12)}
PAPER = (64, 128, 256, 512, 1024)


def small(**options):
    torch.manual_seed(0)
    return create_model("unet_plain", **{**SMALL, **options})


@torch.no_grad()
def randomised(model):
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "attention" in name:
            nn.init.normal_(parameter, std=0.3)
    return _proofs.randomise_batch_norms(model, 0.2)


def count(model):
    return sum(p.numel() for p in model.parameters())


def weights_of_convolutions(channels, in_chans=1):
    """Filters of the 3x3 convolutions, without biases, and how many filters there are."""
    pairs = []
    for before, width in zip((in_chans, *channels), channels, strict=False):
        pairs += [(before, width), (width, width)]
    for width in channels[-2::-1]:
        pairs += [(2 * width, width), (width, width)]
    return sum(9 * a * b for a, b in pairs), sum(b for _, b in pairs)


def deconvolutions(channels):
    return sum(4 * a * b + b for a, b in zip(channels[1:], channels, strict=False))


def test_has_as_many_parameters_as_the_paper_but_for_norms_and_the_last_layer():
    filters, outputs = weights_of_convolutions(PAPER)
    published = filters + outputs + deconvolutions(PAPER) + (64 * 2 + 2)  # biases; a 1x1 to two classes
    assert published == 31_030_658  # "31.03 M"
    norms_for_biases = 2 * outputs - outputs
    three_by_three_to_one_class = (9 * 64 + 1) - (64 * 2 + 2)
    assert count(create_model("unet_plain")) == published + norms_for_biases + three_by_three_to_one_class == 31_036_993


@pytest.mark.parametrize("channels", [(6, 8), (6, 8, 10, 12)])
@pytest.mark.parametrize(("in_chans", "num_classes"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("upsample", ["deconv", "nearest"])
def test_counts_by_its_design(channels, in_chans, num_classes, upsample):
    model = small(channels=channels, in_chans=in_chans, num_classes=num_classes, upsample=upsample)
    filters, outputs = weights_of_convolutions(channels, in_chans)
    up = deconvolutions(channels)
    if upsample != "deconv":  # the map is joined with all its channels
        up = sum(9 * (a - b) * b for a, b in zip(channels[1:], channels, strict=False))
    assert count(model) == filters + 2 * outputs + up + 9 * channels[0] * num_classes + num_classes


def transcribed(state, x, depth):
    """The network in plain torch, in evaluation."""

    def twice(x, names):
        for name in names:
            norm = [state[f"{name}.norm.{word}"] for word in ("running_mean", "running_var", "weight", "bias")]
            x = F.batch_norm(F.conv2d(x, state[f"{name}.conv.weight"], padding=1), *norm).relu()
        return x

    skips = []
    for level in range(depth):
        x = twice(F.max_pool2d(x, 2) if level else x, [f"encoder.stages.{level}.{i}" for i in (0, 1)])
        skips.append(x)
    for step, skip in enumerate(skips[-2::-1]):
        block = f"decoder.blocks.{step}"
        deconv = [state[f"{block}.upsample.deconv.{word}"] for word in ("weight", "bias")]
        x = F.conv_transpose2d(x, *deconv, stride=2)
        # Pooling dropped the last row of an odd map: nearest neighbours fill it.
        rows = [i * x.shape[2] // skip.shape[2] for i in range(skip.shape[2])]
        columns = [i * x.shape[3] // skip.shape[3] for i in range(skip.shape[3])]
        x = twice(torch.cat([x[:, :, rows][..., columns], skip], 1), [f"{block}.conv1", f"{block}.conv2"])
    return F.conv2d(x, state["head.conv.weight"], state["head.conv.bias"], padding=1)


@pytest.mark.parametrize("size", [(32, 48), (101, 101), (33, 40), (47, 63)])
@torch.no_grad()
def test_is_its_transcription(size):
    model = randomised(small()).double().eval()
    x = torch.randn(2, 1, *size, dtype=torch.float64)
    got = model(x)
    assert got.std() > 0.01
    torch.testing.assert_close(got, transcribed(model.state_dict(), x, 4), rtol=1e-9, atol=1e-9)


@given(st.integers(32, 70), st.integers(32, 70), st.sampled_from(["deconv", "nearest", "bilinear"]))
@settings(max_examples=10, deadline=None)
@torch.no_grad()
def test_any_size_from_32(height, width, upsample):
    model = small(channels=(3, 4, 5, 6, 7, 8), upsample=upsample).eval()
    features = model.encoder(torch.randn(1, 1, height, width))
    assert [tuple(f.shape[2:]) for f in features] == [(height >> i, width >> i) for i in range(6)]
    assert model(torch.randn(1, 1, height, width)).shape == (1, 1, height, width)


@pytest.mark.parametrize("attention", ["none", *ATTENTIONS])
def test_attention_stands_at_every_size_down_and_up(attention):
    model = small(attention=attention, attention_reduction=None if attention == "none" else 2)
    kinds = tuple(ATTENTIONS.values())
    down = [isinstance(stage[2], kinds) for stage in model.encoder.stages]
    up = [isinstance(block.attention, kinds) for block in model.decoder.blocks]
    assert down == [attention != "none"] * 4
    assert up == [attention != "none"] * 3
    assert sum(isinstance(module, kinds) for module in model.modules()) == sum(down) + sum(up)
    model(torch.randn(2, 1, 40, 41)).square().mean().backward()
    _proofs.gradients_are_finite(model)


@torch.no_grad()
def test_attention_stands_in_the_path():
    model = small(attention="scse").eval()
    x = torch.randn(1, 1, 40, 41)
    plain = model.encoder(x)
    model.encoder.stages[1][2].spatial.bias.fill_(2.0)
    changed = [not torch.equal(a, b) for a, b in zip(plain, model.encoder(x), strict=True)]
    assert changed == [False, True, True, True]


def test_a_batch_of_one_trains():
    small()(torch.randn(1, 1, 33, 47)).square().mean().backward()


@pytest.mark.slow
def test_compiles_with_free_sizes():
    _proofs.compiles(randomised(small()).eval(), ((2, 1, 48, 64), (2, 1, 65, 71)))


def test_channels_last_and_bf16():
    model = randomised(small()).eval()
    for shape in ((2, 1, 48, 64), (2, 1, 65, 71)):
        x = torch.randn(shape)
        _proofs.stays_channels_last(model, x)
        _proofs.is_near_in_bf16(model, x, within=0.06)


@pytest.mark.slow
def test_is_exported_with_free_sizes():
    model = randomised(small()).eval()
    _proofs.program_agrees(_proofs.exported(model), model, ((1, 1, 33, 33), (3, 1, 64, 97), (1, 1, 128, 34)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": (8,)}, "channels must be at least two numbers, got (8,)"),
        ({"channels": (8, 0, 8)}, "channels must be at least 1, got 0"),
        ({"upsample": "bicubic"}, "must be one of 'deconv', 'nearest', 'bilinear', got 'bicubic'"),
        ({"attention": "sces"}, "unknown attention 'sces'"),
    ],
)
def test_refuses_options_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        small(**options)
