"""The dilated bottleneck against torchvision with the same weights, and its shapes and errors."""

import re

import pytest
import torch
from _proofs import randomise_batch_norms
from torch import nn
from torchvision.models.resnet import Bottleneck, conv1x1

from saltzoo.layers import DilatedBottleneck, bottleneck_stage


def torchvision_twin(ours, in_channels, mid, stride, dilation):
    project = not isinstance(ours.shortcut, nn.Identity)
    norm = nn.BatchNorm2d(4 * mid)
    downsample = nn.Sequential(conv1x1(in_channels, 4 * mid, stride), norm) if project else None
    theirs = Bottleneck(in_channels, mid, stride=stride, downsample=downsample, dilation=dilation).double()
    pairs = [(theirs.conv1, theirs.bn1, ours.narrow), (theirs.conv2, theirs.bn2, ours.look)]
    pairs.append((theirs.conv3, theirs.bn3, ours.widen))
    if project:
        pairs.append((*downsample, ours.shortcut))
    for conv, norm, block in pairs:
        conv.load_state_dict(block.conv.state_dict())
        norm.load_state_dict(block.norm.state_dict())
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    return theirs, pairs


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("in_channels", "stride", "dilation", "projection"),
    [(12, 1, 1, None), (5, 2, 3, None), (12, 1, 2, None), (12, 1, 4, True)],
)
def test_agrees_with_torchvision(in_channels, stride, dilation, projection, training):
    torch.manual_seed(0)
    ours = DilatedBottleneck(in_channels, 3, 12, stride=stride, dilation=dilation, projection=projection)
    ours = randomise_batch_norms(ours, 0.3).double().train(training)
    theirs, pairs = torchvision_twin(ours, in_channels, 3, stride, dilation)
    theirs.train(training)
    x = torch.randn(2, in_channels, 9, 14, dtype=torch.float64)
    ours_x, theirs_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, want = ours(ours_x), theirs(theirs_x)
    torch.testing.assert_close(y, want)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    (want * weight).sum().backward()
    torch.testing.assert_close(ours_x.grad, theirs_x.grad)
    for conv, norm, block in pairs:
        torch.testing.assert_close(block.conv.weight.grad, conv.weight.grad)
        torch.testing.assert_close(block.norm.weight.grad, norm.weight.grad)
        torch.testing.assert_close(block.norm.running_var, norm.running_var)


def test_the_shortcut_is_the_input_if_shapes_agree():
    assert isinstance(DilatedBottleneck(8, 2, 8).shortcut, nn.Identity)
    assert isinstance(DilatedBottleneck(8, 2, 8, dilation=4).shortcut, nn.Identity)
    assert not isinstance(DilatedBottleneck(8, 2, 9).shortcut, nn.Identity)
    assert not isinstance(DilatedBottleneck(8, 2, 8, stride=2).shortcut, nn.Identity)


@pytest.mark.parametrize(("channels", "stride"), [((8, 2, 9), 1), ((8, 2, 8), 2)])
def test_a_shortcut_without_projection_raises_if_shapes_differ(channels, stride):
    words = f"projection=False cannot add 8 channels to {channels[2]} at stride {stride}: leave projection at None"
    with pytest.raises(ValueError, match=re.escape(words)):
        DilatedBottleneck(*channels, stride=stride, projection=False)


def test_the_receptive_field_of_a_dilated_stage():
    stage = bottleneck_stage(1, 1, 1, depth=2, dilation=3).eval()
    for parameter in stage.parameters():
        nn.init.constant_(parameter, 0.5)
    x = torch.full((1, 1, 21, 21), 0.1)
    x[0, 0, 10, 10] = 1
    moved = stage(x) != stage(torch.full_like(x, 0.1))
    seen = moved.nonzero()[:, 2:] - 10
    assert {tuple(place) for place in seen.tolist()} == {(dy, dx) for dy in range(-6, 7, 3) for dx in range(-6, 7, 3)}


def test_only_the_first_block_of_a_stage_has_projection_and_stride():
    for in_channels, stride in ((16, 1), (8, 2)):
        stage = bottleneck_stage(in_channels, 4, 16, depth=3, stride=stride, dilation=2)
        assert [isinstance(block.shortcut, nn.Identity) for block in stage] == [False, True, True]
        assert [block.look.conv.stride for block in stage] == [(stride, stride), (1, 1), (1, 1)]
        assert {block.look.conv.dilation for block in stage} == {(2, 2)}
        y = stage(torch.randn(1, in_channels, 101, 33))
        assert y.shape == (1, 16, -(-101 // stride), -(-33 // stride))


def test_keeps_channels_last_and_does_not_modify_its_input():
    stage = randomise_batch_norms(bottleneck_stage(8, 2, 8, depth=2, dilation=2), 0.3).to(
        memory_format=torch.channels_last
    )
    x = torch.randn(2, 8, 9, 7).to(memory_format=torch.channels_last)
    before = x.clone()
    y = stage(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, before)


@pytest.mark.slow
def test_compiles_and_exports_with_free_sizes():
    torch._dynamo.reset()
    block = randomise_batch_norms(DilatedBottleneck(4, 2, 8, stride=2, dilation=2), 0.3).eval()
    fast = torch.compile(block, fullgraph=True, dynamic=True, backend="eager")
    dim = torch.export.Dim
    sizes = {0: dim("n"), 2: dim("h", min=3), 3: dim("w", min=3)}
    program = torch.export.export(block, (torch.randn(2, 4, 8, 9),), dynamic_shapes=(sizes,)).module()
    for shape in ((1, 4, 5, 7), (3, 4, 101, 33)):
        x = torch.randn(shape)
        torch.testing.assert_close(fast(x), block(x))
        torch.testing.assert_close(program(x), block(x))
