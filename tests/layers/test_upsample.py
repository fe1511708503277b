"""Every mode of Upsample against a loop over pixels, at arbitrary sizes."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo.layers import Upsample
from saltzoo.layers.upsample import UPSAMPLES

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 21), st.integers(1, 21))


def line(source, target):
    """Position of each pixel of the result in the source, with `align_corners=False`."""
    return [max((i + 0.5) * source / target - 0.5, 0) for i in range(target)]


def bilinear(x, height, width):
    result = torch.empty(*x.shape[:2], height, width, dtype=x.dtype)
    for i, y0 in enumerate(line(x.shape[2], height)):
        for j, x0 in enumerate(line(x.shape[3], width)):
            top, left = math.floor(y0), math.floor(x0)
            bottom, right = min(top + 1, x.shape[2] - 1), min(left + 1, x.shape[3] - 1)
            v, u = y0 - top, x0 - left
            result[:, :, i, j] = (1 - v) * ((1 - u) * x[:, :, top, left] + u * x[:, :, top, right]) + v * (
                (1 - u) * x[:, :, bottom, left] + u * x[:, :, bottom, right]
            )
    return result


def nearest(x, height, width):
    rows = torch.tensor([i * x.shape[2] // height for i in range(height)])
    columns = torch.tensor([j * x.shape[3] // width for j in range(width)])
    return x[:, :, rows][..., columns]


@given(sizes)
@settings(max_examples=20, deadline=None)
def test_nearest_and_bilinear_agree_with_a_loop(size):
    h, w, height, width = size
    x = torch.randn(2, 3, h, w, dtype=torch.float64)
    assert torch.equal(Upsample(3, 5)(x, (height, width)), nearest(x, height, width))  # nearest is the default
    got = Upsample(3, 5, mode="bilinear")(x, (height, width))
    torch.testing.assert_close(got, bilinear(x, height, width), rtol=1e-12, atol=1e-12)


@given(sizes)
@settings(max_examples=20, deadline=None)
def test_deconv_agrees_with_its_formula(size):
    h, w, height, width = size
    module = Upsample(3, 5, mode="deconv").double()
    x = torch.randn(2, 3, h, w, dtype=torch.float64)
    double = torch.empty(2, 5, 2 * h, 2 * w, dtype=torch.float64)
    for i in range(2):
        for j in range(2):
            weight = module.deconv.weight[:, :, i, j]  # in out
            double[:, :, i::2, j::2] = (
                torch.einsum("nihw,io->nohw", x, weight) + module.deconv.bias[None, :, None, None]
            )
    torch.testing.assert_close(module(x, (height, width)), nearest(double, height, width), rtol=1e-12, atol=1e-12)
    assert torch.equal(module(x, (2 * h, 2 * w)), module.deconv(x))  # at twice the size there is no resizing


@pytest.mark.parametrize("mode", UPSAMPLES)
def test_out_channels(mode):
    module = Upsample(6, 4, mode=mode)
    assert module.out_channels == module(torch.randn(1, 6, 3, 4), (5, 9)).shape[1] == (4 if mode == "deconv" else 6)
    assert sum(p.numel() for p in module.parameters()) == (6 * 4 * 4 + 4 if mode == "deconv" else 0)
    assert f"mode={mode!r}" in repr(module)


@pytest.mark.parametrize("mode", UPSAMPLES)
def test_keeps_channels_last_and_the_dtype(mode):
    module = Upsample(6, 4, mode=mode).to(memory_format=torch.channels_last)
    x = torch.randn(2, 6, 7, 8).to(memory_format=torch.channels_last)
    y = module(x, (13, 16))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, module(x.contiguous(), (13, 16)))
    with torch.autocast("cpu", torch.bfloat16):
        assert module(x.bfloat16(), (13, 16)).dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("mode", UPSAMPLES)
def test_compiles_and_exports_with_the_size_of_another_map(mode):
    class ToSkip(nn.Module):
        def __init__(self):
            super().__init__()
            self.upsample = Upsample(3, 2, mode=mode)

        def forward(self, x, skip):
            return self.upsample(x, skip.shape[-2:])

    torch._dynamo.reset()
    model = ToSkip().eval()
    fast = torch.compile(model, fullgraph=True, dynamic=True, backend="eager")
    dims = [torch.export.Dim(name, min=2) for name in "nhwHW"]
    shapes = {"x": dict(zip((0, 2, 3), dims[:3], strict=True)), "skip": {0: dims[0], 2: dims[3], 3: dims[4]}}
    example = (torch.randn(2, 3, 5, 6), torch.randn(2, 1, 9, 12))
    program = torch.export.export(model, example, dynamic_shapes=shapes).module()
    for n, h, w in ((2, 9, 12), (3, 11, 7)):
        pair = torch.randn(n, 3, 5, 6), torch.randn(n, 1, h, w)
        for run in (fast, program):
            torch.testing.assert_close(run(*pair), model(*pair))


def test_unknown_mode_raises():
    with pytest.raises(ValueError, match=re.escape("unknown upsample 'bicubic': choose one of 'nearest', 'bilinear'")):
        Upsample(3, 5, mode="bicubic")
