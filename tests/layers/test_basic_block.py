"""BasicBlock against the blocks of torchvision and timm."""

import pytest
import torch
from _proofs import randomise_batch_norms
from timm.models.resnet import BasicBlock as TimmBlock
from torch import nn
from torchvision.models.resnet import BasicBlock as TorchvisionBlock

from saltzoo.layers import BasicBlock

SHAPES = [(8, 8, 1), (8, 12, 1), (8, 8, 2)]


def shortcut(before, after, stride):
    return nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))


def copied(ours, theirs):
    """Their block with our weights; every tensor of both is used once."""
    pairs = [(theirs.conv1, ours.conv1.conv), (theirs.bn1, ours.conv1.norm)]
    pairs += [(theirs.conv2, ours.conv2.conv), (theirs.bn2, ours.conv2.norm)]
    if theirs.downsample is not None:
        pairs += [(theirs.downsample[0], ours.shortcut.conv), (theirs.downsample[1], ours.shortcut.norm)]
    assert len(ours.state_dict()) == len(theirs.state_dict()) == sum(len(a.state_dict()) for a, _ in pairs)
    for target, source in pairs:
        target.load_state_dict(source.state_dict(), strict=True)
    return theirs


@pytest.mark.parametrize("library", [TorchvisionBlock, TimmBlock])
@pytest.mark.parametrize(("before", "after", "stride"), SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_other_libraries(library, before, after, stride, training):
    torch.manual_seed(0)
    ours = randomise_batch_norms(BasicBlock(before, after, stride=stride), 1.0).double().train(training)
    same = stride == 1 and before == after
    theirs = library(before, after, stride=stride, downsample=None if same else shortcut(before, after, stride))
    theirs = copied(ours, theirs.double().train(training))
    x = torch.randn(3, before, 9, 13, dtype=torch.float64)
    weight = torch.randn(3, after, -(-9 // stride), -(-13 // stride), dtype=torch.float64)
    results = []
    for module in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        (y * weight).sum().backward()
        results.append((y.detach(), leaf.grad))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    assert (results[0][0] >= 0).all()
    assert 0.1 < (results[0][0] == 0).double().mean() < 0.9


def test_does_not_modify_its_input():
    x = torch.randn(2, 4, 5, 5)
    before = x.clone()
    BasicBlock(4, 4)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("before", "after", "stride"), SHAPES)
def test_keeps_channels_last_and_every_parameter_gets_a_gradient(before, after, stride):
    module = BasicBlock(before, after, stride=stride).to(memory_format=torch.channels_last)
    y = module(torch.randn(2, before, 7, 9).to(memory_format=torch.channels_last))
    assert y.shape == (2, after, -(-7 // stride), -(-9 // stride))
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.square().mean().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []
