"""Convolutions with TensorFlow's padding: the formula for export agrees with timm's, and exports with free sizes."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from saltzoo.encoders.timm.ceil_pool import make_exportable
from saltzoo.encoders.timm.same_padding import HalvingConv2d


def exportable(convolution):
    """A copy that can be exported."""
    twin = nn.Sequential(copy.deepcopy(convolution))
    make_exportable(twin)
    return twin


@given(
    kernel=st.sampled_from([3, 5, 7]),
    groups=st.sampled_from([1, 4]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_the_formula_agrees_with_that_of_timm(kernel, groups, height, width):
    convolution = Conv2dSame(4, 8, kernel, stride=2, groups=groups)
    twin = exportable(convolution)
    assert type(twin[0]) is HalvingConv2d
    x = torch.randn(2, 4, height, width)
    assert torch.equal(twin(x), convolution(x))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_exporting", lambda: True)
        got = twin(x)
    torch.testing.assert_close(got, convolution(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"stride": 1}, {"stride": 3}, {"stride": (2, 1)}, {"stride": 2, "dilation": 2}],
    ids=str,
)
@pytest.mark.parametrize("kernel", [3, (3, 5), 2, 1])
def test_other_convolutions_are_not_replaced(kernel, options):
    assert type(exportable(Conv2dSame(2, 2, kernel, **options))[0]) is Conv2dSame
    assert type(exportable(Conv2dSame(2, 2, 4, stride=2))[0]) is Conv2dSame
    assert type(exportable(nn.Conv2d(2, 2, 3, stride=2))[0]) is nn.Conv2d


@pytest.mark.slow
def test_a_stack_exports_with_free_sizes():
    stack = nn.Sequential(*(Conv2dSame(2, 2, kernel, stride=2) for kernel in (3, 5, 3, 5)))
    twin = copy.deepcopy(stack)
    make_exportable(twin)
    dim = torch.export.Dim
    sizes = ({0: dim("n"), 2: dim("h", min=33), 3: dim("w", min=33)},)
    program = torch.export.export(twin, (torch.randn(2, 2, 101, 150),), dynamic_shapes=sizes).module()
    for shape in ((1, 2, 33, 34), (3, 2, 64, 127)):
        x = torch.randn(shape)
        torch.testing.assert_close(program(x), stack(x), rtol=1e-5, atol=1e-6)
