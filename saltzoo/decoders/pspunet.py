"""Context by dilation and pyramid pooling, and the way up: the 15th-place solution of the TGS Salt challenge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import FeatureSpec, Size
from ..layers import ConvNormAct, GuidedUpsample, PyramidPooling, bottleneck_stage


class PSPUNetDecoder(nn.Module):
    """Two dilated stages and pyramid pooling at the coarsest size, then a step up to each skip.

    A step resizes to the skip, concatenates, and is three bottlenecks and attention. With guided upsampling, the
    last also gets the context itself, brought in one go to full size along the finest skip's edges.

    Args:
        spec: what the encoder returns: four maps, the finest at full size.
        attention: makes the module that stands after the context and after each step, from its channels.
        guided_upsample: add the guided upsampling.
        guide_channels: `hidden_channels` of its GuidedUpsample; None for those of the context, 128.

    Attributes:
        channels: channels of the maps that `forward` returns.
        reduction: 1, the last of them has the size of the image.

    Raises:
        ValueError: if `spec` is another pyramid, or `guide_channels` is below 4.

    Example:
        >>> from saltzoo.encoders import PSPUNetEncoder
        >>> encoder = PSPUNetEncoder()
        >>> maps = PSPUNetDecoder(encoder.spec)(encoder(torch.randn(2, 1, 101, 97)), (101, 97))
        >>> [tuple(x.shape) for x in maps]
        [(2, 128, 13, 13), (2, 64, 26, 25), (2, 32, 51, 49), (2, 16, 101, 97)]
    """

    channels = (128, 64, 32, 16)
    reduction = 1

    def __init__(
        self,
        spec: FeatureSpec,
        *,
        attention: Callable[[int], nn.Module] = nn.Identity,
        guided_upsample: bool = False,
        guide_channels: int | None = None,
    ) -> None:
        super().__init__()
        if spec.reductions != (1, 2, 4, 8):
            raise ValueError(f"spec must be that of maps at 1, 1/2, 1/4, 1/8, as PSPUNetEncoder's, got {spec}")
        *skips, coarsest = spec.channels
        context, *steps = self.channels
        pooling = PyramidPooling(coarsest)
        self.context = nn.Sequential(
            bottleneck_stage(coarsest, coarsest // 4, coarsest, dilation=2),
            bottleneck_stage(coarsest, coarsest // 4, coarsest, dilation=4),
            pooling,
            ConvNormAct(pooling.out_channels, context),
            attention(context),
        )
        self.steps = nn.ModuleList()
        self.attentions = nn.ModuleList()
        below = context
        for skip, channels in zip(reversed(skips), steps, strict=True):
            self.steps.append(bottleneck_stage(below + skip, channels // 2, channels))
            self.attentions.append(attention(channels))
            below = channels
        self.guided_upsample = (
            GuidedUpsample(context, skips[0], out_channels=steps[-1], hidden_channels=guide_channels)
            if guided_upsample
            else None
        )

    def forward(self, features: Sequence[Tensor], size: Size) -> list[Tensor]:
        """Decodes a pyramid.

        Args:
            features: the encoder's maps, finest first.
            size: H and W of the image: those of the finest map.

        Returns:
            The context and a map a step, coarsest first; the last is N 16 H W.
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
