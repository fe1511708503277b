"""A small U-Net with dilated bottlenecks, pyramid pooling and guided upsampling.

The 15th-place solution of the TGS Salt challenge (.887 private), after Zhao, Shi, Qi, Wang, Jia: "Pyramid Scene
Parsing Network", arXiv 1612.01105, and Mazzini: "Guided Upsampling Network for Real-Time Semantic Segmentation",
arXiv 1807.07466.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_flags
from .._config import Fraction, Range
from ..contracts import FeatureSpec, Size
from ..heads import AuxiliaryHead, SegmentationHead
from ..layers import SCSE, ConvNormAct, GuidedUpsample, PyramidPooling, bottleneck_stage, build_attention
from .options import NetworkOptions
from .segmenter import Segmenter

MakeAttention = Callable[[int], nn.Module]
"""From the channels of a map to the module that the map passes."""


class PSPUNetEncoder(nn.Module):
    """A convolution at full size, then three stages of three bottlenecks, each of which halves the map.

    Args:
        in_chans: channels of the image.
        attention: function from the number of channels to the module after each stage, in the path.

    Attributes:
        spec: channels and reductions of the maps.

    Shape:
        N in_chans H W -> a list of maps N 32 H W, N 64 H/2 W/2, N 128 H/4 W/4, N 256 H/8 W/8 (rounded up).

    Example:
        >>> [tuple(x.shape) for x in PSPUNetEncoder()(torch.randn(2, 1, 101, 101))]
        [(2, 32, 101, 101), (2, 64, 51, 51), (2, 128, 26, 26), (2, 256, 13, 13)]
    """

    spec: FeatureSpec = FeatureSpec((32, 64, 128, 256), (1, 2, 4, 8))

    def __init__(self, in_chans: int = 1, *, attention: MakeAttention = nn.Identity) -> None:
        super().__init__()
        before, *after = self.spec.channels
        self.stem: ConvNormAct = ConvNormAct(in_chans, before)
        self.stages: nn.ModuleList = nn.ModuleList()
        for channels in after:
            blocks = bottleneck_stage(before, channels // 4, channels, stride=2)
            self.stages.append(nn.Sequential(blocks, attention(channels)))
            before = channels

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        features = [self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


class PSPUNetDecoder(nn.Module):
    """Two dilated stages and pyramid pooling at the coarsest size, then a step up to each skip.

    A step resizes the map to the skip, concatenates both, and applies three bottlenecks and attention. With guided
    upsampling, the context is also resampled to full size along the edges of the finest skip, and added in the last
    step.

    Args:
        spec: FeatureSpec of the PSPUNetEncoder.
        attention: function from the number of channels to the module after the context and after each step.
        guided_upsample: whether to add guided upsampling.
        guide_channels: `hidden_channels` of the GuidedUpsample; None for the context's, 128.

    Attributes:
        channels: channels of the maps that `forward` returns.
        reduction: 1, the last map has the size of the image.

    Example:
        >>> encoder = PSPUNetEncoder()
        >>> maps = PSPUNetDecoder(encoder.spec)(encoder(torch.randn(2, 1, 101, 97)), (101, 97))
        >>> [tuple(x.shape) for x in maps]
        [(2, 128, 13, 13), (2, 64, 26, 25), (2, 32, 51, 49), (2, 16, 101, 97)]
    """

    channels: tuple[int, ...] = (128, 64, 32, 16)
    reduction = 1

    def __init__(
        self,
        spec: FeatureSpec,
        *,
        attention: MakeAttention = nn.Identity,
        guided_upsample: bool = False,
        guide_channels: int | None = None,
    ) -> None:
        super().__init__()
        check_flags(guided_upsample=guided_upsample)
        *skips, coarsest = spec.channels
        context, *steps = self.channels
        pooling = PyramidPooling(coarsest)
        self.context: nn.Sequential = nn.Sequential(
            bottleneck_stage(coarsest, coarsest // 4, coarsest, dilation=2),
            bottleneck_stage(coarsest, coarsest // 4, coarsest, dilation=4),
            pooling,
            ConvNormAct(pooling.out_channels, context),
            attention(context),
        )
        self.steps: nn.ModuleList = nn.ModuleList()
        self.attentions: nn.ModuleList = nn.ModuleList()
        below = context
        for skip, channels in zip(reversed(skips), steps, strict=True):
            self.steps.append(bottleneck_stage(below + skip, channels // 2, channels))
            self.attentions.append(attention(channels))
            below = channels
        self.guided_upsample: GuidedUpsample | None = (
            GuidedUpsample(context, skips[0], out_channels=steps[-1], hidden_channels=guide_channels)
            if guided_upsample
            else None
        )

    def forward(self, features: Sequence[Tensor], size: Size) -> list[Tensor]:
        """Return the context and the map after each step, coarsest first; the last is N 16 H W.

        Args:
            features: the encoder's maps, finest first.
            size: H and W of the image, which are those of the finest map.
        """
        *skips, coarsest = features
        context = self.context(coarsest)  # N 128 H/8 W/8
        maps = [context]
        for skip, step, attention in zip(reversed(skips), self.steps, self.attentions, strict=True):
            up = F.interpolate(maps[-1], size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = step(torch.cat([up, skip], dim=1))  # N channels h w
            if self.guided_upsample is not None and skip is skips[0]:
                x = x + self.guided_upsample(context, skip)
            maps.append(attention(x))
        return maps


@dataclass(frozen=True, kw_only=True)
class PSPUNetOptions(NetworkOptions):
    """Options of a U-Net of dilated bottlenecks with pyramid pooling, which is trained from scratch.

    With attention and guided upsampling it has 2 million parameters.

    Attributes:
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`, after every stage, the context and every step up.
            "scse" has batch norms inside, as in the solution.
        guided_upsample: whether to add the context, resampled along the image's edges, to the last step up. It takes
            seven tenths of the network's multiplications.
        guide_channels: channels inside the guided upsampling; None for the solution's 128. 32 save nine tenths of its
            cost.
        auxiliary: whether to return logits of the encoder's coarsest stage, for the loss. The model then returns a
            SegOutput; `mask_only()` drops them.
        drop_rate: probability with which whole channels are dropped before the logits of mask and auxiliary head.

    Raises:
        ValueError: if a value is outside its limits, or guide_channels is given without guided_upsample.
    """

    attention: str = "none"
    guided_upsample: bool = False
    guide_channels: Annotated[int, Range(4)] | None = None
    auxiliary: bool = True
    drop_rate: Fraction = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guide_channels is not None and not self.guided_upsample:
            raise ValueError(
                f"guide_channels={self.guide_channels} is an option of the guided upsampling, which is off: "
                f"leave it at None, or pass guided_upsample=True"
            )

    def build(self) -> Segmenter:
        """Return the network.

        Raises:
            ValueError: if the attention is unknown.
        """
        encoder = PSPUNetEncoder(self.in_chans, attention=self._attention)
        decoder = PSPUNetDecoder(
            encoder.spec,
            attention=self._attention,
            guided_upsample=self.guided_upsample,
            guide_channels=self.guide_channels,
        )
        head = SegmentationHead(decoder.channels[-1], self.num_classes, kernel_size=1, drop_rate=self.drop_rate)
        auxiliary = None
        if self.auxiliary:
            coarsest = len(encoder.spec.channels) - 1
            auxiliary = AuxiliaryHead(
                encoder.spec.channels[coarsest], self.num_classes, stage=coarsest, drop_rate=self.drop_rate
            )
        return Segmenter(encoder, decoder, head, in_chans=self.in_chans, auxiliary=auxiliary)

    def _attention(self, channels: int) -> nn.Module:
        if self.attention == "scse":
            return SCSE(channels, norm=True)
        return build_attention(self.attention, channels)
