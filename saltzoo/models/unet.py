"""U-Nets: on any timm encoder, and as published.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv 1505.04597.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn

from .._config import Count
from ..contracts import Encoder
from ..decoders import UnetDecoder
from ..encoders import InputSkip, PlainEncoder, TimmEncoder
from ..encoders.timm.encoder import input_statistics
from ..encoders.timm.weights import PretrainedWeights
from ..layers import BLOCK_SITES, ConvNormAct, HalfUnetBlock, PyramidPooling, ResidualUnetBlock, UnetBlock
from ..preprocess import Preprocess
from .head_options import AttentionOptions
from .segmenter import Segmenter

_SITES = ("encoder", *BLOCK_SITES)
_BLOCKS: dict[str, type[nn.Module]] = {"concat": UnetBlock, "half": HalfUnetBlock, "residual": ResidualUnetBlock}


@dataclass(frozen=True, kw_only=True)
class UnetOptions(AttentionOptions):
    """Options of a U-Net on a timm encoder.

    Attributes:
        encoder: a timm model name.
        stem_stride: factor by which the encoder's stem reduces the image. None leaves the stem as it is; 2 takes the
            max-pool out of a ResNet's.
        input_skip: join the image itself to the last block.
        attention_sites: sites that get attention: "encoder" (after every stage, in the path, so that later stages and
            skips both see it: arXiv 1808.08127), "skip" (on the encoder's map before it is joined), "concat" (on
            the joined map), "decoder" (after every decoder block).
        center: module between encoder and decoder: "none", "conv" (two 3x3 convolutions), or "pyramid" (pyramid
            pooling, arXiv 1612.01105).
        decoder_channels: channels of the decoder's blocks, coarsest first, one for each halving. None: 16 at full
            size, twice as many at each step down, up to 256.
        drop_rate: dropout before the logits of mask and image, 0 to below 1; in "residual" blocks also on the joined
            map.
        decoder_block: "concat" (two 3x3 convolutions of the joined map), "half" (a deconvolution of the map beside a
            1x1 convolution of the skip), "residual" (a convolution and two pre-activation residual units).
        upsample: "nearest", "bilinear" or "deconv"; None for the block's default: nearest for "concat", else deconv.

    Raises:
        ValueError: if a value is outside its limits, or two options contradict each other.
    """

    encoder: str = "resnet34"
    stem_stride: Literal[1, 2, 4] | None = None
    input_skip: bool = False
    attention_sites: Sequence[str] = ("encoder", "decoder")
    center: Literal["none", "conv", "pyramid"] = "none"
    decoder_channels: Sequence[int] | None = None
    decoder_block: Literal["concat", "half", "residual"] = "concat"
    upsample: Literal["nearest", "bilinear", "deconv"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [site for site in self.attention_sites if site not in _SITES]
        if unknown or (self.attention != "none" and not self.attention_sites):
            raise ValueError(
                f"attention_sites must be one or more of {_SITES}, got {tuple(self.attention_sites)}; "
                f'pass attention="none" for a model without attention'
            )

    def build(self, *, pretrained_encoder: PretrainedWeights = False, cache_dir: str | None = None) -> Segmenter:
        """Return the network.

        Args:
            pretrained_encoder: first weights of the encoder, as `TimmEncoder` takes them; the model's preprocess is
                then that of the encoder.
            cache_dir: folder where timm keeps downloads.

        Raises:
            ValueError: if an option does not fit this encoder.
            OSError: if the weights cannot be loaded.
        """
        backbone = TimmEncoder(
            self.encoder,
            in_chans=self.in_chans,
            pretrained=pretrained_encoder,
            stem_stride=self.stem_stride,
            attention=self.attention if "encoder" in self.attention_sites else "none",
            attention_reduction=self.attention_reduction,
            cache_dir=cache_dir,
        )
        preprocess = None
        if pretrained_encoder is not False:
            mean, std = input_statistics(backbone.backbone, in_chans=self.in_chans)
            preprocess = Preprocess(mean=mean, std=std)
        encoder: Encoder = InputSkip(backbone, in_chans=self.in_chans) if self.input_skip else backbone
        halvings = encoder.spec.coarsest.bit_length() - 1
        channels = self.decoder_channels
        if channels is None:
            channels = [min(256, 16 << step) for step in reversed(range(halvings))]
        decoder = UnetDecoder(
            encoder.spec,
            channels,
            make_block=partial(_BLOCKS[self.decoder_block], **self._block_options()),
            center=_center(self.center, encoder.spec.channels[-1]),
            full_size=True,
        )
        return self.wire(encoder, decoder, preprocess=preprocess)

    def _block_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "attention": self.attention,
            "attention_sites": tuple(site for site in self.attention_sites if site in BLOCK_SITES),
            "attention_reduction": self.attention_reduction,
        }
        if self.upsample is not None:
            options["upsample"] = self.upsample
        if self.decoder_block == "residual":
            options["drop_rate"] = self.drop_rate
        return options


@dataclass(frozen=True, kw_only=True)
class PlainUnetOptions(AttentionOptions):
    """Options of the U-Net as it was published, but with batch norms and padding.

    Attributes:
        channels: channels at each size, from full resolution down; the decoder has the same on its way up.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`, after every size's convolutions, down and up.
        upsample: "deconv" as in the paper, "nearest" or "bilinear".

    Raises:
        ValueError: if a value is outside its limits, or two options contradict each other.
    """

    channels: Sequence[Count] = (64, 128, 256, 512, 1024)
    upsample: Literal["deconv", "nearest", "bilinear"] = "deconv"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.channels) < 2:
            raise ValueError(f"channels must be at least two numbers, got {tuple(self.channels)}")

    def build(self) -> Segmenter:
        """Return the network.

        Raises:
            ValueError: if the attention is unknown.
        """
        encoder = PlainEncoder(
            self.channels,
            in_chans=self.in_chans,
            attention=self.attention,
            attention_reduction=self.attention_reduction,
        )
        make_block = partial(
            UnetBlock,
            upsample=self.upsample,
            attention=self.attention,
            attention_reduction=self.attention_reduction,
        )
        decoder = UnetDecoder(encoder.spec, tuple(reversed(self.channels[:-1])), make_block=make_block)
        return self.wire(encoder, decoder)


def _center(name: str, channels: int) -> nn.Module | None:
    if name == "conv":
        return nn.Sequential(ConvNormAct(channels, channels), ConvNormAct(channels, channels))
    if name == "pyramid":
        pooling = PyramidPooling(channels)
        return nn.Sequential(pooling, ConvNormAct(pooling.out_channels, channels))
    return None
