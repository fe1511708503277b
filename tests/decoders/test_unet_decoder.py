"""The U-Net decoder: sizes and channels of its maps, skips that are missing, and errors."""

import re
from functools import partial

import pytest
import torch
from torch import nn

from saltzoo.contracts import FeatureSpec
from saltzoo.decoders import UnetDecoder
from saltzoo.layers import UnetBlock

SPEC = FeatureSpec((4, 6, 8), (2, 4, 8))
SIZE = (37, 50)


def features_of(spec, size=SIZE):
    """Random maps of the sizes that an encoder with rounding up returns."""
    torch.manual_seed(0)
    return [
        torch.randn(2, channels, *(-(-side // reduction) for side in size))
        for channels, reduction in zip(spec.channels, spec.reductions, strict=True)
    ]


def test_maps_double_up_to_the_size_of_the_image():
    decoder = UnetDecoder(SPEC, (7, 5, 3), full_size=True).eval()
    maps = decoder(features_of(SPEC), SIZE)
    assert [tuple(one.shape) for one in maps] == [(2, 7, 10, 13), (2, 5, 19, 25), (2, 3, 37, 50)]
    assert (decoder.channels, decoder.reduction) == ((7, 5, 3), 1)


def test_fewer_channels_end_at_a_smaller_size():
    decoder = UnetDecoder(SPEC, (7, 5)).eval()
    maps = decoder(features_of(SPEC), SIZE)
    assert [tuple(one.shape) for one in maps] == [(2, 7, 10, 13), (2, 5, 19, 25)]
    assert decoder.reduction == 2


def test_the_center_is_applied_to_the_coarsest_map_and_returned_on_request():
    features = features_of(SPEC)
    decoder = UnetDecoder(SPEC, (7,), center=nn.Hardtanh(-0.1, 0.1), with_center=True).eval()
    center, above = decoder(features, SIZE)
    torch.testing.assert_close(center, features[-1].clamp(-0.1, 0.1))
    torch.testing.assert_close(above, decoder.blocks[0](center, features[1], features[1].shape[-2:]))
    assert decoder.channels == (8, 7)


def test_each_block_gets_the_skip_of_its_size_or_none():
    skips = []
    spec = FeatureSpec((4, 8), (2, 8))  # no map at 1/4, none at full size

    class Block(nn.Module):
        def __init__(self, in_channels, skip_channels, out_channels):
            super().__init__()
            skips.append(skip_channels)
            self.conv = nn.Conv2d(in_channels + skip_channels, out_channels, 1)

        def forward(self, x, skip, size):
            x = nn.functional.interpolate(x, size=tuple(size))
            return self.conv(x if skip is None else torch.cat([x, skip], 1))

    maps = UnetDecoder(spec, (7, 5, 3), make_block=Block)(features_of(spec), SIZE)
    assert skips == [0, 4, 0]
    assert tuple(maps[-1].shape) == (2, 3, *SIZE)


@pytest.mark.parametrize(
    ("channels", "full_size", "words"),
    [
        (
            (),
            False,
            "must be at most 3 positive numbers, coarsest first, as the encoder halves the image 3 times; got ()",
        ),
        ((8, 8, 8, 8), False, "at most 3 positive numbers"),
        ((8, 0, 8), False, "got (8, 0, 8)"),
        ((8, 8), True, "must be 3 positive numbers"),
    ],
)
def test_impossible_channels_raise(channels, full_size, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        UnetDecoder(SPEC, channels, make_block=partial(UnetBlock), full_size=full_size)
