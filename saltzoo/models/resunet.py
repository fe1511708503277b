"""A residual U-Net with pre-activation, for tiles at their native size.

Zhang, Liu, Wang: "Road Extraction by Deep Residual U-Net", arXiv 1711.10684.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_flags
from .._config import Count, Fraction
from ..contracts import FeatureSpec, Size
from ..decoders import UnetDecoder
from ..heads import SegmentationHead
from ..layers import PreActStage, append_scalar
from ..preprocess import Preprocess
from .options import NetworkOptions
from .segmenter import Segmenter


class PreActUpBlock(nn.Module):
    """A step up: deconvolution to exactly the skip's size, concatenation, dropout, a stage of pre-activation residuals.

    From h rows the deconvolution (3x3, stride 2) makes 2h + 1. A skip that was max-pooled to h rows has 2h + 1 or 2h:
    then the last row is cropped, as "same" padding does in other frameworks.

    Args:
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map, 0 where there is none.
        out_channels: channels out.
        drop_rate: probability with which values of the concatenated map are dropped.

    Shape:
        N in_channels h w and N skip_channels H W (or None) -> N out_channels H W, H at most 2h + 1, W 2w + 1

    Example:
        >>> x, skip = torch.randn(2, 64, 6, 25), torch.randn(2, 32, 12, 51)
        >>> PreActUpBlock(64, 32, 16)(x, skip, skip.shape[-2:]).shape
        torch.Size([2, 16, 12, 51])
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, *, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.upsample: nn.ConvTranspose2d = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=3, stride=2)
        self.dropout: nn.Dropout = nn.Dropout(drop_rate, inplace=True)
        self.stage: PreActStage = PreActStage(out_channels + skip_channels, out_channels, bias=True)

    def forward(self, x: Tensor, skip: Tensor | None, size: Size) -> Tensor:
        """Step up to `size`, which is the skip's where there is one."""
        x = self.upsample(x)  # N out 2h+1 2w+1
        # A negative padding and not a slice: torch.export cannot prove that a slice of free sizes lies inside.
        x = F.pad(x, (0, size[1] - x.shape[3], 0, size[0] - x.shape[2]))  # N out H W
        if skip is not None:
            x = torch.cat([x, skip], dim=1)  # N out+skip H W
        return self.stage(self.dropout(x))  # N out H W


class ResUnetEncoder(nn.Module):
    """A stage of pre-activation residuals at each size, with max-pooling and dropout between.

    Args:
        channels: channels at each size, from full resolution down.
        in_chans: channels of the image.
        drop_rate: probability of the dropout after each pooling; half of it after the first.
        has_scalar: the image's last channel is a plane that holds one number for the whole image. The stages see the
            image without it; the number is one more channel of the coarsest stage's input. A Segmenter of this encoder
            needs a preprocess with a scalar.

    Attributes:
        spec: channels and reductions of the maps.

    Shape:
        N in_chans H W -> a list of maps N channels[i] H/2^i W/2^i (rounded down), finest first.

    Example:
        >>> [tuple(x.shape) for x in ResUnetEncoder((8, 16, 32))(torch.randn(2, 1, 101, 101))]
        [(2, 8, 101, 101), (2, 16, 50, 50), (2, 32, 25, 25)]
    """

    def __init__(
        self, channels: Sequence[int], *, in_chans: int = 1, drop_rate: float = 0.0, has_scalar: bool = False
    ) -> None:
        super().__init__()
        check_flags(has_scalar=has_scalar)
        self.has_scalar = has_scalar
        self.spec: FeatureSpec = FeatureSpec(tuple(channels), tuple(1 << i for i in range(len(channels))))
        inputs = [in_chans - has_scalar, *channels[:-1]]
        inputs[-1] += has_scalar
        self.stages: nn.ModuleList = nn.ModuleList(
            PreActStage(below, width, bias=True) for below, width in zip(inputs, channels, strict=True)
        )
        # Half the rate where maps are largest and hold little more than the image.
        rates = [drop_rate / 2, *[drop_rate] * len(channels)][: len(channels) - 1]
        self.dropouts: nn.ModuleList = nn.ModuleList(nn.Dropout(rate, inplace=True) for rate in rates)

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        scalar = None
        if self.has_scalar:
            x, plane = x[:, :-1], x[:, -1:]
            scalar = plane.mean((2, 3))  # N 1
        features = [self.stages[0](x)]
        for dropout, stage in zip(self.dropouts, self.stages[1:], strict=True):
            x = dropout(F.max_pool2d(features[-1], 2))
            if scalar is not None and stage is self.stages[-1]:
                x = append_scalar(x, scalar)
            features.append(stage(x))
        return features


@dataclass(frozen=True, kw_only=True)
class ResUnetOptions(NetworkOptions):
    """Options of a residual U-Net of five sizes, made for 101 x 101 tiles without padding or resizing.

    Several public kernels of the TGS Salt challenge have this form, with 16 base channels: 5,112,497 parameters.

    Attributes:
        base_channels: channels at full size; they double at each size below.
        drop_rate: probability of the dropout after each pooling (half of it after the first) and each concatenation.
        scalar_channel: meaning of the input's last channel. "none": a channel of the image like the others.
            "bottleneck": a plane that holds one number for the whole image, such as its depth, which enters the network
            at the coarsest size: `saltzoo.predict(model, images, scalars=...)`. The `preprocess` normalises it by the
            depths of the TGS Salt challenge, in feet; replace it for numbers of another kind.

    Raises:
        ValueError: if a value is outside its limits, or a scalar leaves no channel for the image.
    """

    base_channels: Count = 16
    drop_rate: Fraction = 0.5
    scalar_channel: Literal["none", "bottleneck"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scalar_channel == "bottleneck" and self.in_chans < 2:
            raise ValueError(
                f'scalar_channel="bottleneck" takes the last channel away from the image, so in_chans must be at '
                f'least 2, got {self.in_chans}: give the scalar as a channel, or pass scalar_channel="none"'
            )

    def build(self) -> Segmenter:
        """Return the network."""
        channels = tuple(self.base_channels << step for step in range(5))
        encoder = ResUnetEncoder(
            channels,
            in_chans=self.in_chans,
            drop_rate=self.drop_rate,
            has_scalar=self.scalar_channel == "bottleneck",
        )
        make_block = partial(PreActUpBlock, drop_rate=self.drop_rate)
        decoder = UnetDecoder(encoder.spec, channels[-2::-1], make_block=make_block)
        head = SegmentationHead(self.base_channels, self.num_classes, kernel_size=1)
        preprocess = Preprocess.gray(self.in_chans, scalar=encoder.has_scalar)
        return Segmenter(encoder, decoder, head, preprocess=preprocess)
