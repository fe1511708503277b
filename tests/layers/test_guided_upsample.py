"""Guided upsampling against bilinear upsampling, a loop over pixels and a reference of the solution's network."""

import re
from copy import deepcopy
from math import floor

import pytest
import torch
import torch.nn.functional as F
from _proofs import randomise_batch_norms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from saltzoo.layers import GuidedUpsample, sample_at_offsets


@torch.no_grad()
def randomised(module, offset=3.0):
    """The module with random norms and offsets of about `offset` pixels."""
    randomise_batch_norms(module, 0.3)
    module.offsets[-1].norm.weight.fill_(offset)
    return module


def bilinear(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@given(*[st.integers(1, 24)] * 2, *[st.integers(1, 70)] * 2)
@settings(max_examples=30, deadline=None)
def test_zero_offsets_equal_bilinear_upsampling(h, w, height, width):
    x = torch.rand(1, 2, h, w, dtype=torch.float64)
    y = sample_at_offsets(x, torch.zeros(1, 2, height, width))
    torch.testing.assert_close(y, bilinear(x, (height, width)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("hidden", [None, 4])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("low", "high"), [((4, 7), (33, 50))])
def test_equals_bilinear_upsampling_at_the_start_and_after_reset(low, high, training, hidden):
    torch.manual_seed(0)
    module = GuidedUpsample(8, 3, hidden_channels=hidden).train(training)
    # A smooth map in 0..1, because float32 resolves a position only to 1e-6 of a coarse pixel.
    x, guide = bilinear(torch.rand(2, 8, 3, 3), low), torch.randn(2, 3, *high)
    torch.testing.assert_close(module(x, guide), bilinear(x, high), rtol=0, atol=1e-6)
    randomised(module)
    assert (module(x, guide) - bilinear(x, high)).abs().max() > 1e-3
    module.reset_offsets()
    torch.testing.assert_close(module(x, guide), bilinear(x, high), rtol=0, atol=1e-6)


def pixel_by_pixel(x, offsets):
    """Bilinear sampling, clamped at the border; the corners of both maps coincide."""
    count, channels, h, w = x.shape
    height, width = offsets.shape[2:]
    y = torch.zeros(count, channels, height, width, dtype=x.dtype)
    for n in range(count):
        for i in range(height):
            for j in range(width):
                right, down = offsets[n, :, i, j].tolist()
                row = min(max((i + 0.5 + down) * h / height - 0.5, 0), h - 1)
                column = min(max((j + 0.5 + right) * w / width - 0.5, 0), w - 1)
                top, left = floor(row), floor(column)
                bottom, other = min(top + 1, h - 1), min(left + 1, w - 1)
                v, u = row - top, column - left
                upper = (1 - u) * x[n, :, top, left] + u * x[n, :, top, other]
                lower = (1 - u) * x[n, :, bottom, left] + u * x[n, :, bottom, other]
                y[n, :, i, j] = (1 - v) * upper + v * lower
    return y


@pytest.mark.parametrize(("low", "high"), [((5, 7), (13, 11)), ((1, 3), (6, 7))])
def test_agrees_with_a_loop_over_pixels(low, high):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *low, dtype=torch.float64)
    offsets = torch.randn(2, 2, *high, dtype=torch.float64) * 4
    torch.testing.assert_close(sample_at_offsets(x, offsets), pixel_by_pixel(x, offsets))


def test_offsets_are_pixels_of_the_result_to_the_right_and_down():
    x = torch.rand(1, 1, 4, 6, dtype=torch.float64)
    offsets = torch.tensor([2.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 4, 6)
    padded = F.pad(x, (0, 2, 1, 0), mode="replicate")
    torch.testing.assert_close(sample_at_offsets(x, offsets), padded[:, :, :4, 2:])


def test_first_derivatives_of_map_and_offsets():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    offsets = (torch.rand(1, 2, 5, 6, dtype=torch.float64) - 0.5).requires_grad_()
    assert torch.autograd.gradcheck(sample_at_offsets, (x, offsets))


def reference(module, x, guide):
    """The network of the 15th place, layer by layer, with the weights of the module."""

    def block(y, layer, padding=0, dilation=1):
        y = F.conv2d(y, layer.conv.weight, padding=padding, dilation=dilation)
        norm = layer.norm
        return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    size = guide.shape[-2:]
    up = bilinear(x, size)
    fused = (block(guide, module.from_guide) + block(up, module.from_map, padding=2, dilation=2)).relu()
    first, second, last = module.offsets
    table = block(block(block(fused, first, padding=1).relu(), second, padding=1).relu(), last, padding=1)
    half = torch.tensor([size[1] / 2, size[0] / 2], dtype=x.dtype)
    identity = F.affine_grid(torch.eye(2, 3, dtype=x.dtype)[None], [1, 1, *size], align_corners=False)
    grid = identity + table.permute(0, 2, 3, 1) / half
    sampled = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return block(sampled, module.project)  # after sampling, which gives the same in evaluation


def test_agrees_with_the_network_of_the_solution():
    torch.manual_seed(0)
    module = randomised(GuidedUpsample(12, 5, out_channels=3)).double().eval()
    x, guide = torch.randn(2, 12, 7, 6, dtype=torch.float64), torch.randn(2, 5, 23, 31, dtype=torch.float64)
    want = reference(module, x, guide)
    torch.testing.assert_close(module(x, guide), want)
    module.reset_offsets()
    assert (module(x, guide) - want).abs().max() > 0.1


@pytest.mark.parametrize("options", [{}, {"hidden_channels": 6}])
@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_convolving_the_upsampled_map(training, options):
    """Outputs, gradients and running statistics are the same as with upsampling first."""
    torch.manual_seed(0)
    module = randomised(GuidedUpsample(8, 3, out_channels=4, **options)).double().train(training)
    other = deepcopy(module)
    x, guide = torch.randn(2, 8, 5, 6, dtype=torch.float64), torch.randn(2, 3, 33, 41, dtype=torch.float64)
    results = []
    for each, forward in ((module, GuidedUpsample.forward), (other, convolving_the_upsampled_map)):
        inputs = [t.clone().requires_grad_() for t in (x, guide)]
        y = forward(each, *inputs)
        (y * torch.arange(y.numel(), dtype=y.dtype).view_as(y).sin()).sum().backward()
        results.append([y, *(t.grad for t in inputs), *(p.grad for p in each.parameters()), *each.buffers()])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)


def convolving_the_upsampled_map(module, x, guide):
    up = bilinear(module.narrow(x), guide.shape[-2:])
    return sample_at_offsets(module.project(x), module.offsets(F.relu(module.from_map(up) + module.from_guide(guide))))


def test_uses_the_bias_that_folding_a_norm_adds_to_the_convolution():
    module = randomised(GuidedUpsample(8, 3)).eval()
    x, guide = torch.randn(2, 8, 5, 6), torch.randn(2, 3, 33, 41)
    want = module(x, guide)
    fused = fuse_conv_bn_eval(module.from_map.conv, module.from_map.norm)
    module.from_map.conv, module.from_map.norm = fused, nn.Identity()
    torch.testing.assert_close(module(x, guide), want, rtol=1e-4, atol=1e-5)
    assert fused.bias.abs().max() > 0.1


def test_number_of_multiplications():
    """With the widths of the solution, only the convolution of the upsampled map takes fewer than its network."""
    pixels = 101 * 101
    module = GuidedUpsample(128, 32).eval()
    x, guide = torch.randn(1, 128, 13, 13), torch.randn(1, 32, 101, 101)

    def flops(f, *inputs):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            f(*inputs)
        return counter.get_total_flops()

    rest = (32 * 128 + 9 * (128 * 64 + 64 * 32 + 32 * 2)) * pixels
    filters = 13 * 13 * 9 * 128 * 128 + (39 * 101 * 39 + 39 * pixels) * 128
    assert flops(module, x, guide) == 2 * (rest + filters)
    assert flops(convolving_the_upsampled_map, module, x, guide) == 2 * (rest + 9 * 128 * 128 * pixels)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_number_of_parameters_is_that_of_the_solution():
    convolutions = 32 * 128 + 9 * (128 * 128 + 128 * 64 + 64 * 32 + 32 * 2)
    norms = 2 * (128 + 128 + 64 + 32 + 2)
    assert count(GuidedUpsample(128, 32)) == convolutions + norms
    assert count(GuidedUpsample(128, 32, out_channels=16)) == convolutions + norms + 128 * 16 + 2 * 16
    assert count(GuidedUpsample(128, 32, hidden_channels=128)) == convolutions + norms
    narrow = 32 * 16 + 128 * 16 + 9 * (16 * 16 + 16 * 8 + 8 * 4 + 4 * 2) + 2 * (16 * 3 + 8 + 4 + 2)
    assert count(GuidedUpsample(128, 32, hidden_channels=16)) == narrow


@pytest.mark.parametrize("options", [{}, {"out_channels": 3, "hidden_channels": 5}])
def test_every_parameter_gets_a_gradient_from_one_image_after_a_step(options):
    torch.manual_seed(0)
    module = GuidedUpsample(8, 3, **options)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    x, guide = torch.randn(1, 8, 4, 5), torch.randn(1, 3, 31, 33)
    for step in range(2):
        optimizer.zero_grad()
        module(x, guide).square().sum().backward()
        gradients = {name: p.grad for name, p in module.named_parameters()}
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
        assert gradients["offsets.2.norm.weight"].any()
        if step:
            assert [name for name, gradient in gradients.items() if not gradient.any()] == []
        optimizer.step()


@pytest.mark.slow
def test_learns_to_place_an_edge_where_the_guide_has_it():
    torch.manual_seed(0)
    guide = (torch.arange(32) >= 13).float().expand(2, 1, 32, 32)
    x = F.avg_pool2d(guide, 8).repeat(1, 8, 1, 1)  # the edge is blurred over 8 pixels and displaced
    module = GuidedUpsample(8, 1)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    losses = []
    for _ in range(120):
        loss = F.mse_loss(module(x, guide)[:, :1], guide)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(F.mse_loss(bilinear(x, (32, 32))[:, :1], guide).item(), rel=1e-4)
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_keep_their_dtype_and_positions(dtype):
    x = torch.rand(1, 4, 16, 16).to(dtype)
    offsets = torch.randn(1, 2, 128, 128)
    y = sample_at_offsets(x, offsets)
    assert y.dtype == dtype
    want = sample_at_offsets(x.double(), offsets.double())
    # Positions in half precision would differ by up to half a pixel.
    assert (y.double() - want).abs().max() < torch.finfo(dtype).eps


def test_bfloat16_autocast_is_close():
    torch.manual_seed(0)
    module = randomised(GuidedUpsample(8, 3, out_channels=4), offset=0.5).eval()
    x, guide = torch.randn(2, 8, 9, 9), torch.randn(2, 3, 65, 65)
    want = module(x, guide)
    with torch.autocast("cpu", torch.bfloat16):
        got = module(x, guide)
    assert got.dtype == torch.bfloat16
    assert (got.float() - want).abs().mean() < 0.02 * want.abs().mean()


@pytest.mark.parametrize("out_channels", [None, 5])
def test_keeps_channels_last(out_channels):
    module = randomised(GuidedUpsample(8, 3, out_channels=out_channels)).eval()
    x, guide = torch.randn(2, 8, 5, 6), torch.randn(2, 3, 33, 41)
    want = module(x, guide)
    module.to(memory_format=torch.channels_last)
    last = [t.to(memory_format=torch.channels_last) for t in (x, guide)]
    got = module(*last)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert want.is_contiguous()
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiles_and_exports_with_free_sizes():
    torch._dynamo.reset()
    module = randomised(GuidedUpsample(8, 3, out_channels=4, hidden_channels=4)).eval()
    fast = torch.compile(module, fullgraph=True, dynamic=True, backend="eager")
    dim = torch.export.Dim
    n = dim("n")
    sizes = [{0: n, 2: dim(h, min=2), 3: dim(w, min=2)} for h, w in (("h", "w"), ("height", "width"))]
    example = (torch.randn(2, 8, 5, 6), torch.randn(2, 3, 33, 41))
    program = torch.export.export(module, example, dynamic_shapes=tuple(sizes)).module()
    for low, high in (((4, 4), (32, 31)), ((13, 13), (101, 101))):
        for images in (1, 3):
            x, guide = torch.randn(images, 8, *low), torch.randn(images, 3, *high)
            torch.testing.assert_close(fast(x, guide), module(x, guide), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(program(x, guide), module(x, guide), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "options"), [(3, {}), (8, {"hidden_channels": 3})])
def test_too_few_hidden_channels_raise(channels, options):
    hidden = options.get("hidden_channels", channels)
    with pytest.raises(
        ValueError, match=re.escape(f"hidden_channels (by default in_channels) must be at least 4, got {hidden}")
    ):
        GuidedUpsample(channels, 3, **options)
