"""Poolings with ceil_mode: they agree with torch, and export with free sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo.encoders.timm.ceil_pool import CeilAvgPool2d, CeilMaxPool2d, make_exportable

POOLS = [
    nn.MaxPool2d(3, 2, ceil_mode=True),
    nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
    nn.MaxPool2d((5, 4), (3, 2), padding=(2, 1), ceil_mode=True),
    nn.MaxPool2d(2, 2, ceil_mode=True),
    nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
    nn.AvgPool2d(2, 2, ceil_mode=True),
]
OTHERS = [
    nn.MaxPool2d(3, 2),
    nn.MaxPool2d(1, 2, ceil_mode=True),  # torch drops a last window that starts outside the map
    nn.MaxPool2d(3, 3, padding=1, ceil_mode=True),
    nn.MaxPool2d(2, 2, dilation=2, ceil_mode=True),
    nn.AvgPool2d(3, 2, ceil_mode=True),
    nn.AvgPool2d(2, 2),
    nn.AvgPool2d(2, 2, ceil_mode=True, divisor_override=3),
]


def exportable(pool):
    """A copy that can be exported."""
    options = {key: getattr(pool, key) for key in ("kernel_size", "stride", "padding", "ceil_mode")}
    options |= {key: getattr(pool, key) for key in ("count_include_pad", "dilation") if hasattr(pool, key)}
    twin = nn.Sequential(type(pool)(**options))
    make_exportable(twin)
    assert isinstance(twin[0], CeilMaxPool2d | CeilAvgPool2d)
    return twin


@pytest.mark.parametrize("pool", POOLS, ids=str)
@given(height=st.integers(3, 40), width=st.integers(3, 40))
@settings(max_examples=25, deadline=None)
def test_explicit_padding_agrees_with_torch(pool, height, width):
    x = torch.randn(2, 3, height, width) - 2
    twin = exportable(pool)
    assert torch.equal(twin(x), pool(x))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_exporting", lambda: True)
        got = twin(x)
    assert got.shape == pool(x).shape
    torch.testing.assert_close(got, pool(x), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_exports_with_free_sizes(pool):
    dim = torch.export.Dim
    sizes = ({0: dim("n"), 2: dim("h", min=5), 3: dim("w", min=5)},)
    program = torch.export.export(exportable(pool), (torch.randn(2, 3, 21, 30),), dynamic_shapes=sizes).module()
    for shape in ((1, 3, 5, 6), (3, 3, 22, 33)):
        x = torch.randn(shape)
        torch.testing.assert_close(program(x), pool(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pool", OTHERS, ids=str)
def test_other_poolings_are_not_replaced(pool):
    kind = type(pool)
    make_exportable(nn.Sequential(pool))
    assert type(pool) is kind


def test_hooks_are_kept():
    net, seen = nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True)), []
    net[0].register_forward_hook(lambda *_: seen.append(1))
    make_exportable(net)
    net(torch.zeros(1, 1, 9, 9))
    assert seen == [1]
