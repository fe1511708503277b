"""The convolution of an upsampled map against upsampling and then convolving, at many sizes, with derivatives."""

import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from saltzoo.layers import conv_of_upsampled


def naive(x, weight, size, *, bias=None, dilation=1):
    """Upsample, then convolve."""
    up = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    padding = [dilation * (taps // 2) for taps in weight.shape[2:]]
    return F.conv2d(up, weight, bias, padding=padding, dilation=dilation)


def exact(*shape):
    return torch.randn(*shape, dtype=torch.float64)


LAYOUTS = [torch.contiguous_format, torch.channels_last]


@given(*[st.integers(1, 9)] * 2, *[st.integers(1, 40)] * 2, st.integers(1, 3), st.sampled_from(LAYOUTS))
@settings(max_examples=60, deadline=None)
def test_agrees_with_convolving_the_upsampled_map(h, w, height, width, dilation, layout):
    torch.manual_seed(h * w)
    x = exact(2, 3, h, w).to(memory_format=layout).requires_grad_()
    weight = exact(4, 3, 3, 3).requires_grad_()
    y, want = (f(x, weight, (height, width), dilation=dilation) for f in (conv_of_upsampled, naive))
    torch.testing.assert_close(y, want, rtol=0, atol=1e-10)
    cotangent = torch.randn_like(want)
    got, wanted = (torch.autograd.grad(out, (x, weight), cotangent) for out in (y, want))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("taps", [(1, 1), (5, 3)])
def test_agrees_for_other_filters_with_a_bias(taps, layout):
    torch.manual_seed(0)
    x, weight, bias = exact(2, 3, 5, 4).to(memory_format=layout), exact(6, 3, *taps), exact(6)
    for size in ((23, 31), (5, 4), (3, 2)):
        options = {"bias": bias, "dilation": 2}
        torch.testing.assert_close(conv_of_upsampled(x, weight, size, **options), naive(x, weight, size, **options))


def as_function(layout):
    """The convolution as a function of map, weight and bias, and values for them."""
    torch.manual_seed(0)
    x = exact(2, 2, 3, 4).to(memory_format=layout).requires_grad_()
    weight, bias = exact(3, 2, 3, 3).requires_grad_(), exact(3).requires_grad_()

    def call(x, weight, bias):
        return conv_of_upsampled(x, weight, (7, 6), bias=bias, dilation=2)

    return call, (x, weight, bias)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_first_derivatives(layout):
    assert torch.autograd.gradcheck(*as_function(layout))


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_second_derivatives(layout):
    assert torch.autograd.gradgradcheck(*as_function(layout))


def test_float32_is_about_as_exact_as_upsampling_first():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 32, 13, 13), torch.randn(16, 32, 3, 3) / 17
    want = naive(x.double(), weight.double(), (101, 101), dilation=2)
    error = (conv_of_upsampled(x, weight, (101, 101), dilation=2) - want).abs().max()
    assert error < 3 * (naive(x, weight, (101, 101), dilation=2) - want).abs().max() < 3e-5


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_keeps_the_memory_format(layout, count):
    x, weight = torch.randn(count, 8, 5, 6).to(memory_format=layout), torch.randn(4, 8, 3, 3)
    for other in LAYOUTS:  # the format of the filter has no effect
        y = conv_of_upsampled(x, weight.to(memory_format=other), (33, 41))
        assert y.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_determines_the_dtype(layout, dtype):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 32, 13, 13).to(memory_format=layout), torch.randn(16, 32, 3, 3) / 17
    want = naive(x.double(), weight.double(), (101, 101), dilation=2)

    def error(f):
        y = f(x, weight, (101, 101), dilation=2)
        assert y.dtype == dtype
        return ((y - want).square().mean() / want.square().mean()).sqrt()

    with torch.autocast("cpu", dtype):
        # Three rounded products with rounded matrices; upsampling and convolving rounds twice.
        assert error(conv_of_upsampled) < 2 * error(naive)
        assert error(naive) < torch.finfo(dtype).eps


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_keep_their_dtype(layout, dtype):
    x, weight = torch.randn(2, 8, 4, 5).to(dtype).to(memory_format=layout), torch.randn(4, 8, 3, 3).to(dtype)
    y = conv_of_upsampled(x, weight, (31, 33), bias=torch.zeros(4))
    assert y.dtype == dtype
    want = naive(x.double(), weight.double(), (31, 33))
    assert (y - want).abs().max() < 0.02 * want.abs().max()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_needs_a_sixteenth_of_the_multiplications(layout):
    x = torch.randn(1, 128, 13, 13).to(memory_format=layout)
    weight = torch.randn(128, 128, 3, 3)

    def flops(f):
        with FlopCounterMode(display=False) as counter:
            f(x, weight, (101, 101), dilation=2)
        return counter.get_total_flops()

    # 1x1 convolutions to nine times the channels, then resampling along each side from 3 x 13 values
    products = 13 * 13 * 9 * 128 * 128 + (39 * 101 * 39 + 101 * 101 * 39) * 128
    assert flops(conv_of_upsampled) == 2 * products
    assert flops(naive) / flops(conv_of_upsampled) == pytest.approx(16, rel=0.03)


def test_runs_on_the_meta_device():
    y = conv_of_upsampled(torch.empty(2, 8, 5, 6, device="meta"), torch.empty(4, 8, 3, 3, device="meta"), (33, 41))
    assert (y.device.type, y.shape) == ("meta", (2, 4, 33, 41))


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, 8, 3, 3))

    def forward(self, x, like):
        return conv_of_upsampled(x, self.weight, like.shape[-2:], dilation=2)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_compiles_to_one_graph_with_free_sizes(layout):
    torch._dynamo.reset()
    module = Module()
    fast = torch.compile(module, fullgraph=True, dynamic=True, backend="eager")
    for count, low, high in ((2, (4, 5), (32, 31)), (3, (13, 13), (101, 101)), (1, (7, 2), (5, 9))):
        x, like = torch.randn(count, 8, *low).to(memory_format=layout), torch.randn(count, 1, *high)
        torch.testing.assert_close(fast(x, like), module(x, like))
        assert fast(x, like).is_contiguous(memory_format=layout)


def exported(layout):
    dim = torch.export.Dim
    n = dim("n")
    sizes = [{0: n, 2: dim(h), 3: dim(w)} for h, w in (("h", "w"), ("height", "width"))]
    example = (torch.randn(2, 8, 5, 6).to(memory_format=layout), torch.randn(2, 1, 33, 41))
    module = Module()
    return module, torch.export.export(module, example, dynamic_shapes=tuple(sizes))


SIZES = [(1, (4, 4), (32, 31)), (3, (13, 13), (101, 101)), (2, (9, 5), (4, 7))]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_exports_with_free_sizes(layout):
    module, program = exported(layout)
    for count, low, high in SIZES:
        x, like = torch.randn(count, 8, *low).to(memory_format=layout), torch.randn(count, 1, *high)
        torch.testing.assert_close(program.module()(x, like), module(x, like))


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_onnx_agrees_at_many_sizes(layout, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    module, program = exported(layout)
    torch.onnx.export(program, dynamo=True).save(tmp_path / "conv.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "conv.onnx", providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    for count, low, high in SIZES:
        inputs = torch.randn(count, 8, *low), torch.randn(count, 1, *high)
        (got,) = session.run(None, dict(zip(names, (t.numpy() for t in inputs), strict=True)))
        torch.testing.assert_close(torch.from_numpy(got), module(*inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("taps", [(2, 3), (3, 4)])
def test_a_filter_with_an_even_side_raises(taps):
    words = f"an odd number of taps along each side, got {taps[0]} x {taps[1]}"
    with pytest.raises(ValueError, match=re.escape(words)):
        conv_of_upsampled(torch.randn(1, 2, 4, 4), torch.randn(3, 2, *taps), (8, 8))
