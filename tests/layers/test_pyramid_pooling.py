"""Pyramid pooling against torch's adaptive pooling at many sizes, and a module of torch layers."""

import re

import pytest
import torch
import torch.nn.functional as F
from _proofs import onnx_agrees, randomise_batch_norms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo.layers import PyramidPooling
from saltzoo.layers.pyramid_pooling import _averages as cell_averages


def reference(ours):
    """The module of the paper from torch layers, with the weights of ours."""
    paths = []
    for bins, branch in zip(ours.bins, ours.branches, strict=True):
        norm = nn.BatchNorm2d(branch.norm.num_features).double()
        norm.load_state_dict(branch.norm.state_dict())
        conv = nn.Conv2d(branch.conv.in_channels, branch.conv.out_channels, 1, bias=False).double()
        conv.load_state_dict(branch.conv.state_dict())
        paths.append(nn.Sequential(nn.AdaptiveAvgPool2d(bins), conv, norm, nn.ReLU()))

    def forward(x):
        size = x.shape[-2:]
        return torch.cat(
            [x, *(F.interpolate(path(x), size, mode="bilinear", align_corners=False) for path in paths)], 1
        )

    return paths, forward


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(13, 13), (12, 6), (4, 5), (1, 1)])
def test_agrees_with_a_module_of_torch_layers(size, training):
    torch.manual_seed(0)
    ours = randomise_batch_norms(PyramidPooling(8), 0.3).double().train(training)
    paths, theirs = reference(ours)
    for path in paths:
        path.train(training)
    x = torch.randn(3, 8, *size, dtype=torch.float64)
    ours_x, theirs_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, want = ours(ours_x), theirs(theirs_x)
    torch.testing.assert_close(y, want)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    (want * weight).sum().backward()
    torch.testing.assert_close(ours_x.grad, theirs_x.grad)
    for path, branch in zip(paths, ours.branches, strict=True):
        torch.testing.assert_close(branch.conv.weight.grad, path[1].weight.grad)
        torch.testing.assert_close(branch.norm.running_var, path[2].running_var)


@given(st.integers(1, 40), st.integers(1, 40), st.lists(st.integers(1, 9), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_cells_are_those_of_adaptive_pooling(height, width, bins):
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    want = torch.cat([F.adaptive_avg_pool2d(x, count).flatten(2) for count in bins], dim=2)
    torch.testing.assert_close(cell_averages(x, bins), want)


@pytest.mark.parametrize(
    ("options", "branch", "out"),
    [({}, 64, 512), ({"bins": (1, 4)}, 64, 384), ({"branch_channels": 10}, 10, 296)],
)
def test_out_channels(options, branch, out):
    module = PyramidPooling(256, **options)
    assert module.out_channels == out
    assert module(torch.randn(2, 256, 5, 5)).shape == (2, out, 5, 5)
    assert {b.conv.out_channels for b in module.branches} == {branch}
    assert f"bins={module.bins}" in repr(module)
    assert PyramidPooling(3).out_channels == 3 + 4  # a quarter, at least 1


def test_the_first_channels_are_the_input():
    x = torch.randn(2, 8, 7, 9)
    assert torch.equal(PyramidPooling(8)(x)[:, :8], x)


def test_trains_on_one_image():
    module = PyramidPooling(8)
    y = module(torch.randn(1, 8, 7, 5))
    assert y.isfinite().all()
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_a_module_built_on_meta_works_after_loading_weights():
    with torch.device("meta"):
        empty = PyramidPooling(8)
    module = randomise_batch_norms(PyramidPooling(8), 0.3)
    empty.to_empty(device="cpu").load_state_dict(module.state_dict())
    assert not set(dict(empty.named_buffers())) - set(empty.state_dict())
    x = torch.randn(2, 8, 7, 9)
    assert torch.equal(empty.eval()(x), module.eval()(x))


@pytest.mark.parametrize("count", [1, 3])
def test_keeps_the_memory_format(count):
    module = randomise_batch_norms(PyramidPooling(8), 0.3).to(memory_format=torch.channels_last)
    x = torch.randn(count, 8, 7, 9)
    want = module(x)
    assert want.is_contiguous()
    got = module(x.to(memory_format=torch.channels_last))
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(("dtype", "value"), [(torch.float16, 3000.0), (torch.bfloat16, 3008.0)])
def test_half_precision_maps_are_averaged_without_overflow(dtype, value):
    x = torch.full((2, 3, 64, 50), value, dtype=dtype)  # the sum over all pixels exceeds 65504
    averages = cell_averages(x, (1, 2, 3, 6))
    assert averages.dtype == dtype
    torch.testing.assert_close(averages.float(), torch.full((2, 3, 50), value), rtol=1e-2, atol=0)


def test_autocast_does_not_round_a_float32_map_before_averaging():
    x = torch.randn(1, 4, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        under = cell_averages(x, (1, 6))
    assert torch.equal(under, cell_averages(x, (1, 6)))


def test_bfloat16_autocast_is_close():
    torch.manual_seed(0)
    module = randomise_batch_norms(PyramidPooling(16), 0.3).eval()
    x = torch.randn(2, 16, 13, 13)
    want = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        got = module(x)
    assert (got.float() - want).abs().max() < 0.02 * want.abs().max()


@pytest.mark.slow
def test_compiles_to_one_graph_with_free_sizes():
    torch._dynamo.reset()
    module = randomise_batch_norms(PyramidPooling(8), 0.3).eval()
    fast = torch.compile(module, fullgraph=True, dynamic=True, backend="eager")
    for shape in ((2, 8, 7, 9), (3, 8, 13, 13), (2, 8, 3, 4)):
        x = torch.randn(shape)
        torch.testing.assert_close(fast(x), module(x))


@pytest.fixture(scope="module")
def program():
    module = randomise_batch_norms(PyramidPooling(8), 0.3).eval()
    dim = torch.export.Dim
    # Sizes that all bins divide: torch would export adaptive pooling as a window of fixed size.
    sizes = {0: dim("n"), 2: dim("h", min=2), 3: dim("w", min=2)}
    return module, torch.export.export(module, (torch.randn(2, 8, 12, 18),), dynamic_shapes=(sizes,))


SHAPES = [(1, 8, 5, 4), (3, 8, 13, 13), (2, 8, 101, 37), (4, 8, 2, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_exports_with_free_sizes(program, shape):
    module, exported = program
    x = torch.randn(shape)
    torch.testing.assert_close(exported.module()(x), module(x))


@pytest.mark.slow
def test_onnx_agrees_at_many_sizes(program, tmp_path):
    module, exported = program
    onnx_agrees(exported, module, SHAPES, tmp_path, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("bins", "words"),
    [((), "bins must hold one or more counts, got ()"), ((1, 0), "bins must be at least 1, got (1, 0)")],
)
def test_invalid_bins_raise(bins, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        PyramidPooling(8, bins=bins)
