"""Full-resolution residual units against loops over the equations of the paper, at many sizes."""

import copy
import itertools
import re

import pytest
import torch
from _proofs import randomise_vectors
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.layers import FRRU, FRRUStage, ResidualUnit


def conv_norm(x, layer, *, relu):
    """A ConvNormAct in evaluation mode, pixel by pixel."""
    kernel, norm = layer.conv.weight, layer.norm
    reach = kernel.shape[2] // 2
    y = x.new_zeros(len(x), len(kernel), *x.shape[2:])
    _, _, height, width = x.shape
    for row, column in itertools.product(range(height), range(width)):
        for i, j in itertools.product(range(-reach, reach + 1), repeat=2):
            if 0 <= row + i < height and 0 <= column + j < width:
                y[:, :, row, column] += x[:, :, row + i, column + j] @ kernel[:, :, i + reach, j + reach].T
    y = (y - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
    y = y * norm.weight[:, None, None] + norm.bias[:, None, None]
    return y.clamp(min=0) if relu else y


def pooled(x, scale):
    """The maximum of each complete scale x scale cell."""
    height, width = x.shape[2] // scale, x.shape[3] // scale
    y = x.new_empty(*x.shape[:2], height, width)
    for i, j in itertools.product(range(height), range(width)):
        y[:, :, i, j] = x[:, :, scale * i : scale * (i + 1), scale * j : scale * (j + 1)].amax((2, 3))
    return y


def unpooled(x, size):
    """A map of `size` in which each pixel takes the value of its cell, all cells being equally large."""
    y = x.new_empty(*x.shape[:2], *size)
    for row, column in itertools.product(range(size[0]), range(size[1])):
        y[:, :, row, column] = x[:, :, row * x.shape[2] // size[0], column * x.shape[3] // size[1]]
    return y


def reference(unit, lane, stream, scale):
    """z_n = z_(n-1) + H(y_(n-1), z_(n-1)), y_n = G(y_(n-1), z_(n-1)) of the paper."""
    y = torch.cat([stream, pooled(lane, scale)], dim=1)
    y = conv_norm(conv_norm(y, unit.conv1, relu=True), unit.conv2, relu=True)
    residual = torch.einsum("nchw,oc->nohw", y, unit.residual.weight[:, :, 0, 0])
    residual = residual + unit.residual.bias[:, None, None]
    return lane + unpooled(residual, lane.shape[2:]), y


@pytest.mark.parametrize(("size", "scale"), [((8, 12), 4), ((9, 7), 2), ((5, 6), 1)])
@torch.no_grad()
def test_unit_agrees_with_the_equations(size, scale):
    torch.manual_seed(0)
    unit = randomise_vectors(FRRU(3, 5, 2, scale=scale)).double().eval()
    lane = torch.randn(2, 2, *size, dtype=torch.float64)
    stream = torch.randn(2, 3, size[0] // scale, size[1] // scale, dtype=torch.float64)
    got_lane, got_stream = unit(lane, stream)
    want_lane, want_stream = reference(unit, lane, stream, scale)
    torch.testing.assert_close(got_lane, want_lane)
    torch.testing.assert_close(got_stream, want_stream)


@pytest.mark.parametrize(("channels", "out_channels"), [(4, None), (4, 4), (5, 3)])
@torch.no_grad()
def test_residual_unit_agrees_with_its_formula(channels, out_channels):
    torch.manual_seed(0)
    unit = randomise_vectors(ResidualUnit(channels, out_channels)).double().eval()
    x = torch.randn(2, channels, 6, 5, dtype=torch.float64)
    shortcut = torch.einsum("nchw,oc->nohw", x, unit.shortcut.weight[:, :, 0, 0]) if out_channels == 3 else x
    want = shortcut + conv_norm(conv_norm(x, unit.conv1, relu=True), unit.conv2, relu=False)
    torch.testing.assert_close(unit(x), want)
    assert (want < 0).any()  # there is no ReLU after the sum


def test_number_of_parameters_is_that_of_the_paper():
    """Two convolutions without bias, each with a norm; the 1x1 convolution of an FRRU has a bias."""
    norm, lane = 2 * 96, 96 * 32 + 32
    frru = (48 + 32) * 96 * 9 + norm + 96 * 96 * 9 + norm + lane
    assert sum(p.numel() for p in FRRU(48, 96, 32, scale=2).parameters()) == frru
    assert sum(p.numel() for p in ResidualUnit(48).parameters()) == 2 * (48 * 48 * 9 + 2 * 48)


@given(st.integers(16, 70), st.integers(16, 70), st.sampled_from([1, 2, 4, 8, 16]))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_shapes_at_any_size(height, width, scale):
    unit = FRRU(2, 3, 4, scale=scale).eval()
    lane, stream = unit(torch.randn(1, 4, height, width), torch.randn(1, 2, height // scale, width // scale))
    assert lane.shape == (1, 4, height, width)
    assert stream.shape == (1, 3, height // scale, width // scale)


@torch.no_grad()
def test_the_residual_reaches_the_last_row_and_column():
    unit = FRRU(2, 3, 4, scale=16).eval()
    before = torch.zeros(1, 4, 47, 33)  # pooled to 2 x 2
    torch.nn.init.ones_(unit.residual.bias)
    torch.nn.init.zeros_(unit.residual.weight)
    lane, _ = unit(before, torch.randn(1, 2, 2, 2))
    assert torch.equal(lane, torch.ones_like(lane))
    assert not before.any()  # other layers still use the incoming lane


@torch.no_grad()
def test_a_stage_runs_its_units_in_a_row():
    stage = randomise_vectors(FRRUStage(2, 3, 4, units=3, scale=2)).eval()
    lane, stream = torch.randn(1, 4, 9, 11), torch.randn(1, 2, 4, 5)
    got = stage(lane, stream)
    for unit in stage:
        lane, stream = unit(lane, stream)
    assert [unit.conv1.conv.in_channels for unit in stage] == [2 + 4, 3 + 4, 3 + 4]
    assert torch.equal(got[0], lane)
    assert torch.equal(got[1], stream)


def test_a_stage_without_units_raises():
    with pytest.raises(ValueError, match=re.escape("units must be at least 1, got 0")):
        FRRUStage(2, 3, 4, units=0, scale=2)


def test_keeps_channels_last():
    unit = FRRU(8, 8, 8, scale=2).to(memory_format=torch.channels_last)
    lane, stream = torch.randn(2, 8, 13, 9), torch.randn(2, 8, 6, 4)
    want = copy.deepcopy(unit)(lane, stream)
    got = unit(*(x.to(memory_format=torch.channels_last) for x in (lane, stream)))
    for ours, theirs in zip(got, want, strict=True):
        assert ours.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient_from_one_image_under_autocast():
    unit = FRRU(3, 4, 2, scale=4)
    with torch.autocast("cpu", torch.bfloat16):
        lane, stream = unit(torch.randn(1, 2, 21, 18), torch.randn(1, 3, 5, 4))
    (lane.float().square().mean() + stream.float().mean()).backward()
    assert [n for n, p in unit.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.slow
@torch.no_grad()
def test_compiles_to_one_graph_with_free_sizes():
    torch._dynamo.reset()
    stage = randomise_vectors(FRRUStage(2, 3, 4, units=2, scale=4)).eval()
    fast = torch.compile(stage, fullgraph=True, dynamic=True, backend="eager")
    for height, width in ((16, 24), (21, 35)):
        inputs = torch.randn(2, 4, height, width), torch.randn(2, 2, height // 4, width // 4)
        for got, want in zip(fast(*inputs), stage(*inputs), strict=True):
            torch.testing.assert_close(got, want)
