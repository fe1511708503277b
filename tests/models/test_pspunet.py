"""The 15th-place network: published parameters and cost, any size, training, compiling and exporting."""

import re
from copy import deepcopy

import _proofs
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo import SegOutput, cost
from saltzoo.data import synthetic_tiles
from saltzoo.layers import CBAM, SCSE, GuidedUpsample, sample_at_offsets
from saltzoo.models import PSPUNetOptions

FULL = {"attention": "scse", "guided_upsample": True}
CHEAP = {**FULL, "guide_channels": 8}
VARIANTS = [{}, {"attention": "scse"}, CHEAP, {**CHEAP, "auxiliary": False}, {"attention": "cbam"}]


def built(**options):
    torch.manual_seed(0)
    return PSPUNetOptions(**options).build()


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.fixture(scope="module")
def full():
    return _proofs.randomise_batch_norms(built(**CHEAP)).eval()


def test_has_as_many_parameters_as_published():
    with torch.device("meta"):
        assert count(PSPUNetOptions(num_classes=2, **FULL).build()) == 2_000_470


def test_parameters_are_where_the_solution_has_them():
    """Each part counted alone; w is a convolution without bias and its norm."""

    def w(kernel, below, above):
        return kernel * kernel * below * above + 2 * above

    def stage(below, mid, above):
        first = w(1, below, mid) + w(3, mid, mid) + w(1, mid, above) + w(1, below, above)
        return first + 2 * (w(1, above, mid) + w(3, mid, mid) + w(1, mid, above))

    def gates(channels):
        return w(1, channels, channels // 2) + w(1, channels // 2, channels) + w(1, channels, 1)

    model = PSPUNetOptions(num_classes=2, **FULL).build()
    encoder, decoder = model.encoder, model.decoder
    assert count(encoder.stem) == w(3, 1, 32)
    widths = [(32, 16, 64), (64, 32, 128), (128, 64, 256)]
    assert [count(s) for s in encoder.stages] == [stage(*x) + gates(x[2]) for x in widths]
    context = [2 * stage(256, 64, 256), 4 * w(1, 256, 64), w(3, 512, 128), gates(128)]
    assert count(decoder.context) == sum(context)
    assert [count(s) for s in decoder.steps] == [stage(256, 32, 64), stage(128, 16, 32), stage(64, 8, 16)]
    assert [count(a) for a in decoder.attentions] == [gates(c) for c in (64, 32, 16)]
    assert count(model.auxiliary) == w(3, 256, 16) + 16 * 2 + 2
    assert count(model.head) == 16 * 2 + 2


def upsampling_first(module, x, guide):
    """Guided upsampling in the solution's order: the filter runs over the upsampled map."""
    up = F.interpolate(module.narrow(x), size=guide.shape[-2:], mode="bilinear", align_corners=False)
    offsets = module.offsets(F.relu(module.from_map(up) + module.from_guide(guide)))
    return sample_at_offsets(module.project(x), offsets)


def gflops(**options):
    with torch.device("meta"):
        model = PSPUNetOptions(num_classes=2, **options).build()
    return cost(model, (129, 129)).flops / 1e9


@pytest.mark.slow
def test_costs_what_is_published_when_arranged_as_the_solution_is(monkeypatch):
    without = gflops(attention="scse")
    ours, narrow = gflops(**FULL), gflops(**FULL, guide_channels=32)
    monkeypatch.setattr(GuidedUpsample, "forward", upsampling_first)
    theirs = gflops(**FULL)
    assert theirs == pytest.approx(9.6, rel=0.01)
    assert ours == pytest.approx(5.14, rel=0.002)
    # 128 to 128 channels from 17 x 17 to 129 x 129: nine 1x1 convolutions and two products of 3 * 17 numbers each
    filters = 17 * 17 * 9 * 128 * 128 + (51 * 129 * 51 + 129 * 129 * 51) * 128
    assert theirs - ours == pytest.approx(2e-9 * (129 * 129 * 9 * 128 * 128 - filters))
    assert 0.68 < 1 - without / ours < 0.72  # "seven tenths of the multiplications"
    assert narrow == pytest.approx(1.84, rel=0.005)
    assert 0.88 < (ours - narrow) / (ours - without) < 0.92  # "save nine tenths of its cost"
    assert count(PSPUNetOptions(num_classes=2, **FULL, guide_channels=32).build()) == 1_775_958


@pytest.mark.parametrize("size", [(101, 67)])
@torch.no_grad()
def test_logits_are_those_of_the_solutions_arrangement(monkeypatch, size):
    single = _proofs.randomise_batch_norms(built(**FULL)).eval()
    double = deepcopy(single).double()
    x = torch.randn(1, 1, *size)
    ours, ours_exact = single(x).logits, double(x.double()).logits
    monkeypatch.setattr(GuidedUpsample, "forward", upsampling_first)
    theirs, want = single(x).logits, double(x.double()).logits
    torch.testing.assert_close(ours_exact, want, rtol=0, atol=1e-10)
    # In single precision some pixels are sampled a little elsewhere, in either order.
    assert (ours - want).abs().mean() < 2 * (theirs - want).abs().mean()
    assert (ours - theirs).abs().mean() < 1e-5
    assert (ours - theirs).abs().max() < 3e-5 * want.std()
    double.decoder.guided_upsample.reset_offsets()
    assert (double(x.double()).logits - want).abs().max() > 0.01  # the offsets had an effect


@pytest.mark.parametrize("size", [(101, 101), (32, 32), (33, 70)])
@torch.no_grad()
def test_logits_have_the_size_of_the_image(size):
    model = built(num_classes=3, in_chans=2, **CHEAP).eval()
    y = model(torch.randn(2, 2, *size))
    assert y.logits.shape == (2, 3, *size)
    assert y.auxiliary.shape == (2, 3, *(-(-side // 8) for side in size))
    assert y.logits.isfinite().all()
    assert (y.maps, y.image) == ((), None)


@given(st.integers(32, 140), st.integers(32, 140))
@settings(max_examples=8, deadline=None)
@torch.no_grad()
def test_any_size_from_32(full, height, width):
    assert full(torch.randn(1, 1, height, width)).logits.shape == (1, 1, height, width)


def test_encoder_and_decoder_keep_their_contracts():
    model = built(**CHEAP).eval()
    features = model.encoder(torch.randn(1, 1, 101, 97))
    spec = model.encoder.spec
    assert [(f.shape[1], f.shape[2]) for f in features] == [(32, 101), (64, 51), (128, 26), (256, 13)]
    assert (spec.channels, spec.reductions) == ((32, 64, 128, 256), (1, 2, 4, 8))
    maps = model.decoder(features, (101, 97))
    assert tuple(m.shape[1] for m in maps) == model.decoder.channels
    assert maps[-1].shape[-2:] == (101, 97)
    assert model.decoder.reduction == 1


@pytest.mark.parametrize("options", VARIANTS)
def test_every_parameter_learns_and_of_one_image_too(options):
    model = built(**options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for images in (1, 2):  # the first step moves gates and offsets away from zero
        y = model(torch.randn(images, 1, 40, 47))
        logits = y if isinstance(y, torch.Tensor) else torch.cat([y.logits.flatten(), y.auxiliary.flatten()])
        optimizer.zero_grad()
        (logits * torch.randn_like(logits)).sum().backward()
        _proofs.gradients_are_finite(model)
        optimizer.step()
    if options.get("attention") != "cbam":  # its one hidden unit at 16 channels may be off
        assert [name for name, p in model.named_parameters() if not p.grad.any()] == []


def test_options_are_in_the_network():
    def kinds(**options):
        model = PSPUNetOptions(**options).build()
        found = [type(m) for m in model.modules()]
        return found.count(SCSE), found.count(GuidedUpsample), found.count(CBAM), model.auxiliary is not None

    assert kinds() == (0, 0, 0, True)
    assert kinds(**FULL) == (7, 1, 0, True)
    assert kinds(attention="cbam", auxiliary=False) == (0, 0, 7, False)
    stages = [*(s[0] for s in PSPUNetOptions().build().encoder.stages), *PSPUNetOptions().build().decoder.context[:2]]
    assert [{block.look.conv.dilation[0] for block in stage} for stage in stages] == [{1}, {1}, {1}, {2}, {4}]
    rates = [m.p for m in PSPUNetOptions(drop_rate=0.3).build().modules() if isinstance(m, nn.Dropout2d)]
    assert rates == [0.3, 0.3]
    assert PSPUNetOptions(in_chans=3).build().preprocess.mean == (0.47,) * 3


@torch.no_grad()
def test_guided_upsampling_adds_the_context_before_the_last_attention(full):
    features = full.encoder(torch.randn(1, 1, 50, 45))
    maps = full.decoder(features, (50, 45))
    up = F.interpolate(maps[2], size=(50, 45), mode="bilinear", align_corners=False)
    x = full.decoder.steps[2](torch.cat([up, features[0]], dim=1))
    guided = full.decoder.guided_upsample(maps[0], features[0])
    assert guided.abs().max() > 0.1
    torch.testing.assert_close(full.decoder.attentions[2](x + guided), maps[3])


@torch.no_grad()
def test_mask_only_is_the_same_network_without_the_auxiliary_head(full):
    x = torch.randn(2, 1, 50, 45)
    plain = full.mask_only()
    assert isinstance(full(x), SegOutput)
    assert torch.equal(plain(x), full(x).logits)
    assert count(full) - count(plain) == count(full.auxiliary) > 0
    assert isinstance(built(auxiliary=False)(x), torch.Tensor)


def test_tiles_of_a_batch_are_independent(full):
    _proofs.images_are_independent(full, torch.randn(3, 1, 65, 71), atol=1e-4)


def test_bf16_autocast_is_finite_and_near():
    _proofs.is_near_in_bf16(built(**CHEAP).eval(), torch.randn(2, 1, 101, 101))


def test_channels_last_gives_the_same_and_stays_it(full):
    _proofs.stays_channels_last(full, torch.randn(2, 1, 49, 53), atol=1e-4)


@pytest.mark.slow
def test_compiles_whole_with_free_sizes(full):
    _proofs.compiles(full, ((2, 1, 64, 96), (3, 1, 101, 101)), atol=1e-4)


@pytest.fixture(scope="module")
def program(full):
    mask_only = full.mask_only()
    return _proofs.exported(mask_only), mask_only


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 33, 33), (3, 1, 64, 97), (2, 1, 101, 101), (1, 1, 128, 34)])
def test_is_exported_with_free_sizes(program, shape):
    _proofs.program_agrees(*program, [shape], atol=1e-4)


@pytest.mark.slow
def test_onnx_agrees(program, tmp_path):
    _proofs.onnx_agrees(*program, ((1, 1, 64, 97), (3, 1, 101, 101)), tmp_path, atol=1e-3)


@pytest.mark.slow
def test_overfits_one_batch():
    torch.manual_seed(0)
    model = built(**FULL, guide_channels=16, drop_rate=0.0)
    batch = _proofs.batch_of(synthetic_tiles(4, seed=4, size=64), model)  # three with salt, one without
    small = F.interpolate(batch[1][:, None].float(), size=(8, 8), mode="area")

    def loss(output, masks):
        auxiliary = F.binary_cross_entropy_with_logits(output.auxiliary, small)
        return _proofs.mask_loss(output, masks) + 0.4 * auxiliary

    _proofs.overfits_one_batch(model, batch, steps=40, lr=3e-3, loss=loss, salt=(0.3, 0.7))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attention": "gum"}, "unknown attention 'gum': choose one of 'none'"),
        ({"guide_channels": 32}, "an option of the guided upsampling, which is off: leave it at None, or pass guided"),
        ({**FULL, "guide_channels": 2}, "guide_channels must be at least 4, or None, got 2"),
        ({"drop_rate": 1.0}, "drop_rate must be at least 0 and below 1, got 1.0"),
        ({"drop_rate": -0.1}, "got -0.1"),
    ],
)
def test_refuses_options_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        PSPUNetOptions(**options).build()
