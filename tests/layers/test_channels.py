"""Appended channels against closed forms, for many sizes, dtypes and memory formats."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.layers import CoordChannels, ScalarChannel, append_scalar


def position(index, count):
    return 0.0 if count == 1 else 2 * index / (count - 1) - 1


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 7), st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_coordinates_agree_with_the_closed_form(n, c, height, width):
    x = torch.randn(n, c, height, width, dtype=torch.float64)
    y = CoordChannels(radius=True)(x)
    assert y.shape == (n, c + 3, height, width)
    assert torch.equal(y[:, :c], x)
    for row in range(height):
        for column in range(width):
            across, down = position(column, width), position(row, height)
            want = torch.tensor([across, down, math.hypot(across, down)], dtype=torch.float64)
            torch.testing.assert_close(y[:, c:, row, column], want.expand(n, 3))


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 1), (37, 300)])
def test_coordinates_are_symmetric_and_end_at_one(size):
    plain = CoordChannels()(torch.zeros(1, 1, *size))[0, 1:]
    full = CoordChannels(radius=True)(torch.zeros(1, 1, *size))[0, 1:]
    assert torch.equal(full[:2], plain)
    for plane, axis, count in ((plain[0], 1, size[1]), (plain[1], 0, size[0])):
        assert torch.equal(plane.flip(axis), -plane)
        ends = (-1.0, 1.0) if count > 1 else (0.0, 0.0)
        assert (plane.min().item(), plane.max().item()) == ends
        assert torch.equal(plane.diff(dim=axis) > 0, torch.ones_like(plane.diff(dim=axis)) > 0)
        assert not plane.diff(dim=1 - axis).any()
    assert torch.equal(full[2], full[2].flip(0).flip(1))
    assert full[2].max() <= math.sqrt(2) + 1e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_dtype_is_kept_and_values_are_rounded_once(dtype):
    y = CoordChannels(radius=True)(torch.zeros(1, 1, 2, 1001, dtype=dtype))
    assert y.dtype == dtype
    exact = CoordChannels(radius=True)(torch.zeros(1, 1, 2, 1001))
    assert torch.equal(y, exact.to(dtype)) or dtype == torch.float64
    torch.testing.assert_close(y.double(), exact.double(), rtol=0, atol=torch.finfo(dtype).eps + 1e-6)


def test_a_scalar_fills_the_channel_of_its_image():
    x = torch.randn(3, 2, 4, 5)
    depth = torch.tensor([0.1, -2.0, 7.0], dtype=torch.float64)
    for given_as in (depth, depth[:, None]):
        y = append_scalar(x, given_as)
        assert torch.equal(y, ScalarChannel()(x, given_as))
        assert y.dtype == torch.float32
        assert torch.equal(y[:, :2], x)
        assert torch.equal(y[:, 2], depth.float()[:, None, None].expand(3, 4, 5))


def test_scalars_may_be_integers():
    assert append_scalar(torch.zeros(2, 1, 1, 1), torch.tensor([3, 4]))[:, 1].flatten().tolist() == [3, 4]


def test_first_derivatives_of_map_and_scalar():
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    depth = torch.randn(2, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(append_scalar, (x, depth))
    assert torch.autograd.gradcheck(CoordChannels(radius=True), (x,))
    append_scalar(x, depth).sum().backward()
    assert depth.grad.flatten().tolist() == [8, 8]


CALLS = {
    "coordinates": lambda x: CoordChannels()(x),
    "radius": lambda x: CoordChannels(radius=True)(x),
    "scalar": lambda x: append_scalar(x, torch.ones(x.shape[0])),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_memory_format_is_kept(call):
    x = torch.randn(2, 3, 6, 5)
    first, last = call(x), call(x.to(memory_format=torch.channels_last))
    assert first.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first, last)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_input_of_another_shape_raises(call):
    with pytest.raises(ValueError, match=re.escape("expected a map N C H W, got (3, 4, 4)")):
        call(torch.zeros(3, 4, 4))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_map_of_integers_raises(call):
    with pytest.raises(ValueError, match=re.escape("expected a floating-point map, got torch.uint8")):
        call(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (3, 1), (2, 1, 1), (1,)])
def test_scalars_of_another_shape_raise(shape):
    words = f"expected one number for each of 2 images, of shape (2,) or (2, 1), got {shape}"
    with pytest.raises(ValueError, match=re.escape(words)):
        append_scalar(torch.zeros(2, 1, 3, 3), torch.zeros(shape))


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [None, True])
def test_both_compile_to_one_graph(dynamic):
    torch._dynamo.reset()
    coordinates = torch.compile(CoordChannels(radius=True), fullgraph=True, backend="eager", dynamic=dynamic)
    scalar = torch.compile(ScalarChannel(), fullgraph=True, backend="eager", dynamic=dynamic)
    for shape in ((2, 3, 9, 11), (1, 3, 1, 7), (4, 3, 5, 5)):
        x = torch.randn(shape)
        depth = torch.randn(shape[0], 1)
        torch.testing.assert_close(coordinates(x), CoordChannels(radius=True)(x))
        assert torch.equal(scalar(x, depth), append_scalar(x, depth))


@pytest.mark.slow
def test_both_export_with_free_sizes():
    dim = torch.export.Dim
    sizes = {0: dim("n"), 2: dim("h"), 3: dim("w")}
    coordinates = torch.export.export(CoordChannels(radius=True), (torch.randn(2, 3, 8, 9),), dynamic_shapes=(sizes,))
    args = (torch.randn(2, 3, 8, 9), torch.randn(2))
    scalar = torch.export.export(ScalarChannel(), args, dynamic_shapes=(sizes, {0: sizes[0]}))
    for shape in ((3, 3, 5, 21), (1, 3, 1, 6)):
        x, depth = torch.randn(shape), torch.randn(shape[0])
        torch.testing.assert_close(coordinates.module()(x), CoordChannels(radius=True)(x))
        assert torch.equal(scalar.module()(x, depth), append_scalar(x, depth))
