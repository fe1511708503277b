"""FRRN: the paper's parameters and wiring, any size, training, compiling and exporting."""

import re

import _proofs
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.data import synthetic_tiles
from saltzoo.layers import FRRU
from saltzoo.models import FRRNOptions

# (scale, units, channels) in the order of the paper's table 1, and the table's parameters in millions.
PAPER = {
    "a": ((2, 3, 96), (4, 4, 192), (8, 2, 384), (16, 2, 384), (8, 2, 192), (4, 2, 192), (2, 2, 96)),
    "b": (
        *((2, 3, 96), (4, 4, 192), (8, 2, 384), (16, 2, 384), (32, 2, 384)),
        *((16, 2, 192), (8, 2, 192), (4, 2, 192), (2, 2, 96)),
    ),
}
MILLIONS = {"a": 17.7, "b": 24.8}


def narrow(**options):
    torch.manual_seed(0)
    return FRRNOptions(**{"base_channels": 4, "lane_channels": 3, **options}).build()


@pytest.fixture(scope="module", params=["a", "b"])
def net(request):
    return _proofs.randomise_batch_norms(narrow(variant=request.param)).eval()


def count(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def by_the_table(table, in_chans, num_classes):
    norm = [2 * width for width in (0, 48, 32)]
    residual_unit = 2 * (9 * 48 * 48 + norm[1])
    total = 25 * in_chans * 48 + norm[1] + 48 * 32 + norm[2] + 6 * residual_unit
    stream = 48
    for _, units, width in table:
        for _ in range(units):
            total += 9 * (stream + 32) * width + 9 * width * width + 2 * 2 * width + width * 32 + 32
            stream = width
    joined = stream + 32
    # The first unit at full size narrows the map: its first convolution is wider, its shortcut a 1x1 convolution.
    return total + 9 * (joined - 48) * 48 + joined * 48 + 48 * num_classes + num_classes


@pytest.mark.parametrize("variant", PAPER)
def test_has_the_papers_units_and_parameters(variant):
    with torch.device("meta"):
        model = FRRNOptions(variant=variant, in_chans=3, num_classes=19).build()
        small = FRRNOptions(variant=variant).build()
    assert count(model) == by_the_table(PAPER[variant], 3, 19)
    assert round(count(model) / 1e6, 1) == MILLIONS[variant]
    assert count(small) == by_the_table(PAPER[variant], 1, 1)
    assert abs(count(small) / 1e6 / MILLIONS[variant] - 1) < 0.01
    units = [(m.scale, m.conv2.conv.out_channels) for m in small.modules() if isinstance(m, FRRU)]
    assert units == [(scale, width) for scale, number, width in PAPER[variant] for _ in range(number)]


@torch.no_grad()
def test_the_wiring_is_the_papers(net):
    """The whole forward pass again, from the net's units, at a size that all scales divide."""
    x = torch.randn(2, 1, 64, 96)
    stream = net.encoder.stem(x)
    lane = net.encoder.to_lane(stream)
    assert (lane < 0).any()  # a linear projection, without ReLU
    units = [m for m in net.modules() if isinstance(m, FRRU)]
    before = 1
    for unit in units:
        if unit.scale > before:
            stream = F.max_pool2d(stream, 2)
        elif unit.scale < before:
            stream = F.interpolate(stream, scale_factor=2, mode="bilinear", align_corners=False)
        before = unit.scale
        joined = torch.cat([stream, F.max_pool2d(lane, unit.scale)], dim=1)
        stream = unit.conv2(unit.conv1(joined))
        residual = unit.residual(stream).repeat_interleave(unit.scale, 2).repeat_interleave(unit.scale, 3)
        lane = lane + residual
    stream = F.interpolate(stream, scale_factor=2, mode="bilinear", align_corners=False)
    want = net.head.conv(net.decoder.full(torch.cat([stream, lane], dim=1)))
    torch.testing.assert_close(net(x), want, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_lane_keeps_full_resolution(net):
    lanes = []
    hooks = [
        m.register_forward_hook(lambda _module, _args, output: lanes.append(tuple(output[0].shape)))
        for m in net.modules()
        if isinstance(m, FRRU)
    ]
    net(torch.randn(1, 1, 97, 131))
    for hook in hooks:
        hook.remove()
    assert lanes == [(1, 3, 97, 131)] * len(hooks)


@pytest.mark.parametrize("size", [(32, 32), (101, 101), (97, 131), (33, 64)])
@torch.no_grad()
def test_logits_have_the_size_of_the_image(net, size):
    y = net(torch.randn(2, 1, *size))
    assert y.shape == (2, 1, *size)
    assert y.isfinite().all()


@given(st.integers(32, 140), st.integers(32, 140))
@settings(max_examples=10, deadline=None)
@torch.no_grad()
def test_any_size_from_32(net, height, width):
    assert net(torch.randn(1, 1, height, width)).shape == (1, 1, height, width)


@torch.no_grad()
def test_maps_are_as_promised(net):
    x = torch.randn(1, 1, 101, 70)
    features = net.encoder(x)
    spec = net.encoder.spec
    assert [m.shape[1] for m in features] == list(spec.channels)
    assert [m.shape[2] for m in features] == [101 // r for r in spec.reductions]
    maps = net.decoder(features, (101, 70))
    assert tuple(m.shape[1] for m in maps) == net.decoder.channels
    sizes = [m.shape[2] for m in maps]
    assert sizes == sorted(sizes)
    assert (sizes[-1], net.decoder.reduction) == (101, 1)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("variant", ["a", "b"])
def test_every_parameter_learns_at_101(variant, batch):
    model = narrow(variant=variant, in_chans=2, num_classes=2)
    x = torch.randn(batch, 2, 101, 101)
    model(x).square().mean().backward()
    _proofs.gradients_are_finite(model)
    assert [n for n, p in model.named_parameters() if not p.grad.any()] == []


def test_tiles_of_a_batch_are_independent(net):
    _proofs.images_are_independent(net, torch.randn(3, 1, 65, 71), atol=1e-4)


def test_bf16_autocast_is_finite_and_near(net):
    _proofs.is_near_in_bf16(net, torch.randn(2, 1, 101, 101))


def test_trains_under_bf16_autocast():
    _proofs.trains_in_bf16(narrow(), torch.randn(2, 1, 65, 64))


def test_channels_last_stays_and_gives_the_same():
    _proofs.stays_channels_last(
        _proofs.randomise_batch_norms(narrow(base_channels=8, lane_channels=8)).double().eval(),
        torch.randn(2, 1, 49, 53, dtype=torch.float64),
    )


@pytest.mark.slow
def test_compiles_with_free_sizes(net):
    _proofs.compiles(net, ((2, 1, 64, 96), (3, 1, 101, 101)))


@pytest.mark.slow
def test_is_exported_with_free_sizes(net):
    least = 2 * net.encoder.spec.coarsest  # a map of one pixel is a constant to torch
    shapes = ((1, 1, least + 1, least + 2), (3, 1, 64, 97), (2, 1, 101, 101), (1, 1, least, 128))
    _proofs.program_agrees(_proofs.exported(net, least), net, shapes)


@pytest.mark.slow
def test_onnx_agrees(net, tmp_path):
    _proofs.onnx_agrees(_proofs.exported(net, 64), net, ((1, 1, 64, 97), (3, 1, 101, 101), (2, 1, 128, 64)), tmp_path)


@pytest.mark.slow
def test_overfits_one_batch():
    torch.manual_seed(0)
    model = FRRNOptions(base_channels=12, lane_channels=12).build()
    _proofs.overfits_one_batch(
        model, _proofs.batch_of(synthetic_tiles(4, seed=3), model, slice(18, 82)), steps=120, lr=3e-3
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": "c"}, "unknown variant 'c': choose one of 'a', 'b'"),
        ({"base_channels": 0}, "base_channels must be at least 1, got 0"),
        ({"lane_channels": -1}, "lane_channels must be at least 1, got -1"),
        ({"in_chans": 0}, "in_chans must be at least 1, got 0"),
    ],
)
def test_refuses_options_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        FRRNOptions(**options)
