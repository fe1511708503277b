"""Full-resolution residual networks, A and B.

Pohlen, Hermans, Mathias, Leibe: "Full-Resolution Residual Networks for Semantic Segmentation in Street Scenes",
arXiv 1611.08323.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..decoders import FRRNDecoder
from ..encoders import FRRNEncoder
from ..heads import SegmentationHead
from .segmenter import Segmenter

# Stages as (units, channels in multiples of base_channels): down, finest first; up, coarsest first.
_VARIANTS = {
    "a": (((3, 2), (4, 4), (2, 8), (2, 8)), ((2, 4), (2, 4), (2, 2))),
    "b": (((3, 2), (4, 4), (2, 8), (2, 8), (2, 8)), ((2, 4), (2, 4), (2, 4), (2, 2))),
}


def frrn(
    *,
    in_chans: int = 1,
    num_classes: int = 1,
    variant: str = "a",
    base_channels: int = 48,
    lane_channels: int = 32,
) -> Segmenter:
    """A full-resolution residual network (arXiv 1611.08323), trained from scratch.

    A lane of residuals runs through the whole network at the image's size; beside it a stream is pooled, as in a
    U-Net, and reads and writes the lane in every unit. Boundaries stay sharp, at the price of memory.

    Args:
        in_chans: channels of the image.
        num_classes: logits for each pixel.
        variant: "a" pools to a 16th (17.7 million parameters), "b" to a 32nd (24.8 million).
        base_channels: channels at full size; those of the stages are multiples of it.
        lane_channels: channels of the lane.

    Raises:
        ValueError: for an unknown variant, or channels below 1.
    """
    if variant not in _VARIANTS:
        raise ValueError(f"unknown variant {variant!r}: choose one of {list(_VARIANTS)}")
    if base_channels < 1 or lane_channels < 1:
        raise ValueError(f"base_channels and lane_channels must be at least 1, got {base_channels}, {lane_channels}")

    def widened(stages: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(units, multiple * base_channels) for units, multiple in stages]

    stages_down, stages_up = _VARIANTS[variant]
    down = FRRNEncoder(
        widened(stages_down), in_chans=in_chans, base_channels=base_channels, lane_channels=lane_channels
    )
    up = FRRNDecoder(down.spec, widened(stages_up), base_channels=base_channels)
    head = SegmentationHead(base_channels, num_classes, kernel_size=1)
    return Segmenter(down, up, head, in_chans=in_chans)
