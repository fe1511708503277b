"""A pre-activation residual U-Net on tiles at their native size.

Zhang, Liu, Wang: "Road Extraction by Deep Residual U-Net", arXiv 1711.10684.
"""

from __future__ import annotations

from functools import partial

from ..decoders import ResUnetBlock, UnetDecoder
from ..encoders import ResUnetEncoder
from ..heads import SegmentationHead
from .segmenter import Segmenter


def resunet(
    *,
    in_chans: int = 1,
    num_classes: int = 1,
    base_channels: int = 16,
    drop_rate: float = 0.5,
    scalar_channel: str = "none",
) -> Segmenter:
    """A residual U-Net of five sizes, made for 101 x 101 tiles without padding or resizing.

    A family of public kernels of the TGS Salt challenge has this form, with 16 base channels: 5,112,497 parameters.

    Args:
        in_chans: channels of the image, a scalar's plane among them.
        num_classes: logits for each pixel.
        base_channels: channels at full size; twice as many at each size below.
        drop_rate: of the dropout after each pooling (half of it after the first) and each concatenation.
        scalar_channel: "none", or "bottleneck": the last channel of the image is a plane that holds one number for
            the whole image, such as its depth, and enters at the coarsest size.

    Raises:
        ValueError: for an unknown `scalar_channel` or a scalar without an image, `base_channels` below 1, or a
            `drop_rate` that is none.
    """
    if base_channels < 1 or not 0 <= drop_rate < 1:
        raise ValueError(
            f"base_channels must be at least 1 and drop_rate at least 0 and below 1, got {base_channels}, {drop_rate}"
        )
    channels = tuple(base_channels << step for step in range(5))
    down = ResUnetEncoder(channels, in_chans=in_chans, drop_rate=drop_rate, scalar_channel=scalar_channel)
    up = UnetDecoder(down.spec, channels[-2::-1], make_block=partial(ResUnetBlock, drop_rate=drop_rate))
    head = SegmentationHead(base_channels, num_classes, kernel_size=1)
    return Segmenter(down, up, head, in_chans=in_chans)
