"""The small U-Net with pyramid pooling, dilated residuals and guided upsampling.

The 15th-place solution of the TGS Salt challenge (.887 private), after Zhao, Shi, Qi, Wang, Jia: "Pyramid Scene
Parsing Network", arXiv 1612.01105, and Mazzini: "Guided Upsampling Network for Real-Time Semantic Segmentation",
arXiv 1807.07466.
"""

from __future__ import annotations

from torch import nn

from ..decoders import PSPUNetDecoder
from ..encoders import PSPUNetEncoder
from ..heads import AuxiliaryHead, SegmentationHead
from ..layers import SCSE, build_attention
from .segmenter import Segmenter


def pspunet(
    *,
    in_chans: int = 1,
    num_classes: int = 1,
    attention: str = "none",
    guided_upsample: bool = False,
    guide_channels: int | None = None,
    auxiliary: bool = True,
    drop_rate: float = 0.1,
) -> Segmenter:
    """A U-Net of dilated bottlenecks with pyramid pooling, 2 million parameters with everything, from scratch.

    Args:
        in_chans: channels of the image.
        num_classes: logits for each pixel.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`, after every stage, the context and every step up.
            "scse" has batch norms inside, as in the solution.
        guided_upsample: add the context, resampled along the image's edges, to the last step up. It costs more than
            all the rest: seven tenths of the multiplications.
        guide_channels: channels inside the guided upsampling; None is the solution's 128. 32 save nine
            tenths of its cost.
        auxiliary: logits from the coarsest stage of the encoder too, for the loss. The model then returns a
            SegOutput; `mask_only()` drops them.
        drop_rate: whole channels are dropped with this probability before both logits.

    Raises:
        ValueError: for an option that is unknown or makes no sense.
    """
    if guide_channels is not None and not guided_upsample:
        raise ValueError(f"guide_channels={guide_channels} is of the guided upsampling: say guided_upsample=True too")
    if guide_channels is not None and guide_channels < 4:
        raise ValueError(f"guide_channels must be at least 4, or None for the solution's 128, got {guide_channels}")
    if not 0 <= drop_rate < 1:
        raise ValueError(f"drop_rate must be at least 0 and below 1, got {drop_rate}")

    def attention_for(channels: int) -> nn.Module:
        return SCSE(channels, norm=True) if attention == "scse" else build_attention(attention, channels)

    down = PSPUNetEncoder(in_chans, attention=attention_for)
    up = PSPUNetDecoder(
        down.spec, attention=attention_for, guided_upsample=guided_upsample, guide_channels=guide_channels
    )
    head = SegmentationHead(up.channels[-1], num_classes, kernel_size=1, drop_rate=drop_rate)
    coarsest = len(down.spec.channels) - 1
    beside = AuxiliaryHead(down.spec.channels[coarsest], num_classes, stage=coarsest, drop_rate=drop_rate)
    return Segmenter(down, up, head, in_chans=in_chans, auxiliary=beside if auxiliary else None)
