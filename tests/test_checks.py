"""Errors of layers for invalid options, and properties that several layers share."""

import re

import pytest
import torch

from saltzoo.encoders import PlainEncoder
from saltzoo.layers import (
    BAM,
    CBAM,
    FRRU,
    SCSE,
    BasicBlock,
    ChannelSE,
    ConvNormAct,
    DilatedBottleneck,
    GuidedUpsample,
    HalfUnetBlock,
    PreActResidual,
    PyramidPooling,
    ResidualUnetBlock,
    ResidualUnit,
    UnetBlock,
    bottleneck_stage,
)

SITES = "attention_sites must be a tuple of some of ('skip', 'concat', 'decoder'), got "


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ConvNormAct(0, 4), "in_channels must be at least 1, got 0"),
        (lambda: ConvNormAct(4, -1), "out_channels must be at least 1, got -1"),
        (lambda: ConvNormAct(4, 4, stride=0), "stride must be at least 1, got 0"),
        (lambda: ConvNormAct(4, 4, dilation=0), "dilation must be at least 1, got 0"),
        (lambda: ConvNormAct(4, 4, kernel_size=2), "kernel_size must be odd, so that H and W are kept, got 2"),
        (lambda: ConvNormAct(4, 4, kernel_size=-1), "kernel_size must be odd, so that H and W are kept, got -1"),
        (lambda: BasicBlock(4, 0), "out_channels must be at least 1, got 0"),
        (lambda: ResidualUnit(8, 0), "out_channels must be at least 1, got 0"),
        (lambda: FRRU(8, 8, 4, scale=0), "scale must be at least 1, got 0"),
        (lambda: FRRU(8, 8, 0, scale=2), "lane_channels must be at least 1, got 0"),
        (lambda: DilatedBottleneck(8, 0, 8), "out_channels must be at least 1, got 0"),
        (lambda: bottleneck_stage(8, 4, 8, depth=0), "depth must be at least 1, got 0"),
        (lambda: PreActResidual(0), "channels must be at least 1, got 0"),
        (lambda: PlainEncoder((8, 0)), "channels must be at least 1, got (8, 0)"),
        (lambda: PlainEncoder(()), "channels must hold one or more counts, got ()"),
        (lambda: PyramidPooling(8, branch_channels=0), "out_channels must be at least 1, got 0"),
        (lambda: UnetBlock(8, 4, 0), "out_channels must be at least 1, got 0"),
        (lambda: UnetBlock(8, 4, 4, attention_sites=("encoder",)), f"{SITES}('encoder',)"),
        (lambda: HalfUnetBlock(8, 4, 4, attention_sites=("skips",)), f"{SITES}('skips',)"),
        (lambda: ResidualUnetBlock(8, 4, 4, attention_sites="decoder"), f"{SITES}'decoder'"),
    ],
)
def test_invalid_options_raise(build, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        build()


@pytest.mark.parametrize("kind", [SCSE, ChannelSE, BAM, CBAM, PyramidPooling])
def test_trains_on_one_image_of_one_pixel(kind):
    layer = kind(8)
    y = layer(torch.randn(1, 8, 1, 1))
    y.sum().backward()
    assert y.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("kind", [SCSE, ChannelSE, BAM, CBAM, PyramidPooling, lambda c: GuidedUpsample(c, 3)])
def test_runs_on_the_meta_device(kind):
    with torch.device("meta"):
        layer, x = kind(8), torch.empty(2, 8, 5, 7)
        more = [torch.empty(2, 3, 20, 28)] if isinstance(layer, GuidedUpsample) else []
    assert layer(x, *more).shape[2:] == ((20, 28) if more else (5, 7))
