"""saltnet: parameters and operations counted by hand, a transcription, and odd sizes at its entrance."""

import itertools
import re

import _proofs
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from saltzoo import create_model
from saltzoo.data import synthetic_tiles
from saltzoo.heads import SegmentationHead
from saltzoo.layers import ATTENTIONS
from saltzoo.losses import DeepSupervisionLoss, bce_loss, lovasz_hinge
from saltzoo.metrics import salt_map
from saltzoo.models import SaltnetOptions, Segmenter
from saltzoo.models.saltnet import SaltnetEncoder

SMALL = {"channels": (8, 12, 16, 24), "decoder_channels": (12, 10, 8)}
SMALLER = {"channels": (8, 12, 16), "decoder_channels": (10, 8), "blocks": 1}
ALL_HEADS = {"deep_supervision": True, "classifier": "fused"}


def small(**options):
    torch.manual_seed(0)
    return create_model("saltnet_s", **{**SMALL, **options})


@torch.no_grad()
def randomised(model):
    """Move gates away from one half, and norms away from their initial values."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if re.search(r"\.(squeeze|excite|spatial)\.", name):
            nn.init.normal_(parameter, std=0.3)
        if ".squeeze." in name:
            parameter.abs_()  # inputs of the ReLU are positive, so that none is off
    return _proofs.randomise_batch_norms(model, 0.2)


def conv(kernel, before, after):
    return kernel**2 * before * after + 2 * after  # and a norm


def scse(width):
    half = width // 2
    return 2 * width * half + half + width + width + 1


def parameters_of(channels, blocks, decoder, *, classes=1, reduced=16, hidden=32):
    """Parameters of the design, added up."""
    total, before = conv(3, 4, channels[0]), channels[0]
    for width in channels:
        changes = before != width or width != channels[0]
        total += conv(3, before, width) + conv(3, width, width) + (conv(1, before, width) if changes else 0)
        total += (blocks - 1) * 2 * conv(3, width, width) + scse(width)
        before = width
    for width, skip in zip(decoder, channels[-2::-1], strict=True):
        total += conv(3, before + skip, width) + conv(3, width, width)
        before = width
    maps = (channels[-1], *decoder)
    total += sum(conv(1, width, reduced) for width in maps) + conv(3, reduced * len(maps), hidden)
    return total + (hidden + 1) * 4 * classes


@pytest.mark.parametrize(
    ("name", "channels", "decoder", "published"),
    [
        ("saltnet_s", (32, 64, 128, 192), (64, 48, 32), 2_352_216),
        ("saltnet_m", (48, 96, 192, 256), (96, 64, 48), 4_655_152),
    ],
)
def test_has_as_many_parameters_as_its_design(name, channels, decoder, published):
    model = create_model(name)
    count = sum(p.numel() for p in model.parameters())
    assert count == parameters_of(channels, 2, decoder) == published
    model = create_model(name, num_classes=3, blocks=1)
    assert sum(p.numel() for p in model.parameters()) == parameters_of(channels, 1, decoder, classes=3)


def test_costs_what_its_design_says():
    """Two operations for a multiply-add; maps of 51, 26, 13 and 7 pixels on a side."""
    sides = {32: 51, 64: 26, 128: 13, 192: 7}
    macs = 9 * 4 * 32 * 51**2
    for before, width in ((32, 32), (32, 64), (64, 128), (128, 192)):
        pixels = sides[width] ** 2
        macs += 9 * (before + 3 * width) * width * pixels + (before * width * pixels if before != width else 0)
        macs += width * (width // 2) * 2 + width * pixels  # scSE
    for below, skip, width, side in ((192, 128, 64, 13), (64, 64, 48, 26), (48, 32, 32, 51)):
        macs += 9 * (below + skip + width) * width * side**2
    macs += sum(width * 16 * side**2 for width, side in ((192, 7), (64, 13), (48, 26), (32, 51)))
    macs += (9 * 64 * 32 + 32 * 4) * 51**2
    model = create_model("saltnet_s")
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model.eval()(torch.zeros(1, 1, 101, 101))
    assert forward.get_total_flops() == 2 * macs
    assert 2 * macs / 1e9 == pytest.approx(1.12, abs=0.01)
    with FlopCounterMode(display=False) as step:
        model.train()(torch.zeros(2, 1, 101, 101)).sum().backward()
    assert step.get_total_flops() / 2 / 1e9 == pytest.approx(3.4, abs=0.05)  # a training tile


class Transcription:
    """saltnet in plain torch, in evaluation, from a state dict alone."""

    def __init__(self, state, *, blocks=2, attention=True):
        self.state, self.blocks, self.attention = state, blocks, attention

    def cnr(self, x, key, *, stride=1, act=True):
        s = self.state
        weight = s[f"{key}.conv.weight"]
        y = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        norm = (s[f"{key}.norm.{word}"] for word in ("running_mean", "running_var", "weight", "bias"))
        y = F.batch_norm(y, *norm)
        return y.relu() if act else y

    def scse(self, x, key):
        def layer(name):
            return self.state[f"{key}.{name}.weight"], self.state[f"{key}.{name}.bias"]

        channel = F.linear(F.linear(x.mean((2, 3)), *layer("squeeze")).relu(), *layer("excite")).sigmoid()
        return x * (channel[:, :, None, None] + F.conv2d(x, *layer("spatial")).sigmoid())

    def stage(self, x, key, stride):
        for block in range(self.blocks):
            name = f"{key}.{block}"
            step = stride if block == 0 else 1
            y = self.cnr(self.cnr(x, f"{name}.conv1", stride=step), f"{name}.conv2", act=False)
            if f"{name}.shortcut.conv.weight" in self.state:
                x = self.cnr(x, f"{name}.shortcut", stride=step, act=False)
            x = (x + y).relu()
        return self.scse(x, f"{key}.{self.blocks}") if self.attention else x

    def __call__(self, image):
        height, width = image.shape[-2:]
        rows = torch.arange(0, height, 2)
        columns = torch.arange(0, width, 2)
        corners = []
        for i, j in itertools.product((0, 1), (0, 1)):
            below, right = (rows + i).clamp(max=height - 1), (columns + j).clamp(max=width - 1)
            corners.append(image[:, 0, below][:, :, right])
        x = self.cnr(torch.stack(corners, 1), "encoder.stem")
        features = []
        for number in range(4):
            x = self.stage(x, f"encoder.stages.{number}", 2 if number else 1)
            features.append(x)
        maps = [x]
        for number, skip in enumerate(features[-2::-1]):
            x = torch.cat([F.interpolate(x, skip.shape[-2:], mode="nearest"), skip], 1)
            x = self.cnr(self.cnr(x, f"decoder.blocks.{number}.conv1"), f"decoder.blocks.{number}.conv2")
            maps.append(x)
        size = x.shape[-2:]
        columns = [
            F.interpolate(self.cnr(y, f"head.reduce.{n}"), size, mode="bilinear", align_corners=False)
            for n, y in enumerate(maps)
        ]
        last = [self.state[f"head.classify.conv.{word}"] for word in ("weight", "bias")]
        four = F.conv2d(self.cnr(torch.cat(columns, 1), "head.mix"), *last)
        logits = four.new_empty(len(four), 1, 2 * size[0], 2 * size[1])
        for i, j in itertools.product((0, 1), (0, 1)):
            logits[:, 0, i::2, j::2] = four[:, 2 * i + j]
        return logits[..., :height, :width]


@pytest.mark.parametrize("attention", ["scse", "none"])
@pytest.mark.parametrize("size", [(101, 101), (64, 48), (33, 40)])
@torch.no_grad()
def test_is_its_transcription(attention, size):
    model = randomised(small(attention=attention)).double().eval()
    x = torch.randn(2, 1, *size, dtype=torch.float64)
    want = Transcription(model.state_dict(), attention=attention == "scse")(x)
    got = model(x)
    assert got.std() > 0.01
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def randomised_net():
    return randomised(small(**SMALLER, **ALL_HEADS)).eval()


@given(st.integers(32, 80), st.integers(32, 80))
@settings(max_examples=12, deadline=None)
@torch.no_grad()
def test_an_odd_image_is_an_even_one_with_its_border_repeated(randomised_net, height, width):
    x = torch.randn(1, 1, height, width)
    even = torch.cat([x, x[..., -1:]], -1) if width % 2 else x
    even = torch.cat([even, even[..., -1:, :]], -2) if height % 2 else even
    got, want = randomised_net(x), randomised_net(even)
    assert got.logits.shape == x.shape
    assert torch.equal(got.logits, want.logits[..., :height, :width])
    for a, b in zip((*got.maps, got.image), (*want.maps, want.image), strict=True):
        assert torch.equal(a, b)


@given(st.integers(32, 75), st.integers(32, 75), st.integers(1, 3))
@settings(max_examples=12, deadline=None)
def test_unfolds_what_it_folds(height, width, channels):
    """With identities between, exit undoes entrance at every size."""
    encoder = SaltnetEncoder((4 * channels,), in_chans=channels, blocks=1)
    encoder.stem = encoder.stages[0] = nn.Identity()
    head = SegmentationHead(4 * channels, channels, kernel_size=1, scale=encoder.spec.coarsest)
    with torch.no_grad():
        head.conv.weight.copy_(torch.eye(4 * channels)[:, :, None, None])
        head.conv.bias.zero_()

    class Nothing(nn.Module):
        def forward(self, features, size):
            return features

    x = torch.randn(2, channels, height, width)
    assert torch.equal(Segmenter(encoder, Nothing(), head, in_chans=channels)(x), x)


@pytest.mark.parametrize("size", [(32, 32), (101, 101), (33, 64), (97, 131)])
@pytest.mark.parametrize("options", [{}, ALL_HEADS, {"in_chans": 3, "num_classes": 2}], ids=str)
def test_sizes_of_everything(size, options):
    model = small(**options)
    x = torch.randn(2, model.in_chans, *size)
    features = model.encoder(x)
    halves = [tuple(-(-side // 2**step) for side in size) for step in (1, 2, 3, 4)]
    assert [tuple(f.shape[1:]) for f in features] == [(c, *h) for c, h in zip(SMALL["channels"], halves, strict=True)]
    assert model.encoder.spec.channels == SMALL["channels"]
    assert model.encoder.spec.reductions == (2, 4, 8, 16)
    logits, *rest = _proofs.flat(model(x))
    assert logits.shape == (2, options.get("num_classes", 1), *size)
    assert [tuple(y.shape[2:]) for y in rest[:-1]] == (halves[::-1] if rest else [])
    assert model.decoder.channels == (24, 12, 10, 8)
    assert model.decoder.reduction == 2


@pytest.mark.parametrize("attention", ["none", *ATTENTIONS])
@pytest.mark.parametrize("hypercolumn", [False, True])
def test_every_parameter_learns(attention, hypercolumn):
    model = randomised(small(attention=attention, hypercolumn=hypercolumn, deep_supervision=True, classifier="beside"))
    x, y = torch.randn(4, 1, 48, 48), torch.rand(4, 48, 48) < 0.4
    DeepSupervisionLoss(bce_loss)(model(x), y).backward()
    bad = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert bad == []


@pytest.mark.parametrize("size", [101, 32])
def test_a_batch_of_one_trains(size):
    model = small(**ALL_HEADS)
    loss = DeepSupervisionLoss(lovasz_hinge)(model(torch.randn(1, 1, size, size)), torch.ones(1, size, size))
    loss.backward()
    _proofs.gradients_are_finite(model)


def test_images_of_a_batch_are_independent(randomised_net):
    _proofs.images_are_independent(randomised_net, torch.randn(3, 1, 47, 60))


@pytest.mark.parametrize("training", [False, True])
def test_bf16_autocast_is_finite_and_near(training):
    model = randomised(small(**ALL_HEADS)).train(training)
    x, y = torch.randn(2, 1, 101, 101), torch.rand(2, 101, 101) < 0.4
    want = [v.detach() for v in _proofs.flat(model(x))]
    with torch.autocast("cpu", torch.bfloat16):
        output = model(x)
    for a, b in zip(_proofs.flat(output), want, strict=True):
        assert a.isfinite().all()
        assert (a - b).abs().mean() < 0.06 * b.abs().mean() + 0.01
    DeepSupervisionLoss(lovasz_hinge)(output, y).backward()
    _proofs.gradients_are_finite(model)


@torch.no_grad()
def test_stays_in_channels_last(randomised_net):
    x = torch.randn(2, 1, 97, 101)
    want = randomised_net(x)
    last = randomised(small(**SMALLER, **ALL_HEADS)).eval().to(memory_format=torch.channels_last)
    broken = []

    def check(name, values):
        for value in values:
            if torch.is_tensor(value) and value.ndim == 4 and value.shape[1] > 4:
                broken.extend([name] * (not value.is_contiguous(memory_format=torch.channels_last)))

    for name, module in last.named_modules():
        module.register_forward_hook(lambda _module, args, out, name=name: check(name, (*args, out)))
    got = last(x.to(memory_format=torch.channels_last))
    assert broken == []
    _proofs.agree(got, want)


@pytest.mark.slow
def test_compiles_with_free_sizes(randomised_net):
    _proofs.compiles(randomised_net, ((2, 1, 64, 96), (3, 1, 101, 101), (2, 1, 33, 50)), graphs=1)


@pytest.mark.slow
@pytest.mark.parametrize("plain", [True, False], ids=["logits", "all heads"])
def test_is_exported_with_free_sizes(randomised_net, plain):
    model = randomised_net.mask_only() if plain else randomised_net
    shapes = ((1, 1, 33, 33), (3, 1, 64, 97), (2, 1, 101, 101), (1, 1, 128, 34))
    _proofs.program_agrees(_proofs.exported(model), model, shapes)


@pytest.mark.slow
def test_overfits_one_batch():
    torch.manual_seed(0)
    model = create_model("saltnet_s", **ALL_HEADS)
    images, masks = _proofs.batch_of(synthetic_tiles(40, seed=3), model, slice(20, 84))
    some = ((masks.float().mean((1, 2)) - 0.5).abs() < 0.4).nonzero()[:4, 0]
    assert len(some) == 4
    x, y = images[some], masks[some]
    assert salt_map(model(x).logits[:, 0] > 0, y).item() < 0.6
    _proofs.overfits_one_batch(model, (x, y), steps=30, lr=4e-3, loss=DeepSupervisionLoss(bce_loss))
    with torch.no_grad():
        assert salt_map(model.eval()(x).logits[:, 0] > 0, y).item() > 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decoder_channels": (64, 48)}, "must be one fewer than channels, so that the decoder ends at half size"),
        ({"channels": (8, 8)}, "got (12, 10, 8) for (8, 8)"),
        ({"channels": (), "decoder_channels": ()}, "channels must be at least two"),
        ({"channels": (8,), "decoder_channels": ()}, "channels must be at least two"),
        ({"channels": (8, 12, 16, 0)}, "channels must be at least 1, got 0"),
        ({"decoder_channels": (12, 10, 0)}, "decoder_channels must be at least 1, got 0"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"attention": "sces"}, "unknown attention 'sces'"),
        ({"attention_reduction": 0}, "attention_reduction must be at least 1, or None, got 0"),
    ],
)
def test_refuses_options_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        small(**options)


def test_its_options_build_it_alone():
    model = SaltnetOptions(**SMALL).build()
    assert model.config is None
    assert model(torch.randn(1, 1, 40, 41)).shape == (1, 1, 40, 41)
