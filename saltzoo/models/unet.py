"""U-Net on any timm encoder.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv 1505.04597.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from ..decoders import UnetDecoder
from ..encoders import InputSkip, PlainEncoder, TimmEncoder
from ..encoders.timm.encoder import input_statistics
from ..encoders.timm.weights import PretrainedWeights
from ..layers import BLOCK_SITES, ConvNormAct, HalfUnetBlock, PyramidPooling, ResidualUnetBlock, UnetBlock
from ..preprocess import Preprocess
from .options import AttentionOptions
from .segmenter import Segmenter

ATTENTION_SITES = ("encoder", *BLOCK_SITES)
BLOCKS: dict[str, type[nn.Module]] = {"concat": UnetBlock, "half": HalfUnetBlock, "residual": ResidualUnetBlock}
CENTERS = ("none", "conv", "pyramid")


@dataclass(frozen=True, kw_only=True)
class UnetOptions(AttentionOptions):
    """Options of a U-Net with a timm network for its way down, besides its heads.

    Attributes:
        encoder: a timm model name.
        stem_stride: how many times the encoder's stem reduces the image. None leaves it as it is; 2 takes the
            max-pool out of a ResNet's.
        input_skip: the image itself is joined to the last block.
        attention_sites: where it stands: "encoder" (after every stage, in the path, so that later stages and
            skips both see it: arXiv 1808.08127), "skip" (on the encoder's map before it is joined), "concat" (on
            the joined map), "decoder" (after every decoder block).
        center: what stands between encoder and decoder: "none", "conv" (two 3x3 convolutions), or "pyramid"
            (pyramid pooling, arXiv 1612.01105).
        decoder_channels: channels of the decoder's blocks, coarsest first, one for each halving. None: 16 at full
            size, twice as many a step down, up to 256.
        drop_rate: dropout before the logits of mask and image, 0 to below 1; in "residual" blocks of the joined map
            too.
        decoder_block: "concat" (two 3x3 convolutions of the joined map), "half" (a deconvolution of the map beside a
            1x1 convolution of the skip), "residual" (a convolution and two pre-activation residual units).
        upsample: "nearest", "bilinear" or "deconv"; None for the block's own: nearest for "concat", else deconv.

    Raises:
        ValueError: for a value or a combination that makes no sense.
    """

    encoder: str = "resnet34"
    stem_stride: int | None = None
    input_skip: bool = False
    attention_sites: Sequence[str] = ("encoder", "decoder")
    center: str = "none"
    decoder_channels: Sequence[int] | None = None
    decoder_block: str = "concat"
    upsample: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [site for site in self.attention_sites if site not in ATTENTION_SITES]
        if unknown or (self.attention != "none" and not self.attention_sites):
            raise ValueError(
                f"attention_sites must be one or more of {ATTENTION_SITES}, got {tuple(self.attention_sites)}; "
                f'for a model without attention say attention="none"'
            )
        for name, value, known in (("decoder_block", self.decoder_block, BLOCKS), ("center", self.center, CENTERS)):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}: choose one of {list(known)}")

    def build(self, *, pretrained_encoder: PretrainedWeights = False, cache_dir: str | None = None) -> Segmenter:
        """The network.

        Args:
            pretrained_encoder: first weights of the encoder, as `TimmEncoder` takes them; the model's preprocess is
                then the encoder's.
            cache_dir: where timm keeps downloads.

        Raises:
            ValueError: for an option that this encoder can't serve.
            OSError: if weights can't be had.
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
        encoder = InputSkip(backbone, in_chans=self.in_chans) if self.input_skip else backbone
        halvings = encoder.spec.coarsest.bit_length() - 1
        channels = self.decoder_channels
        if channels is None:
            channels = [min(256, 16 << step) for step in reversed(range(halvings))]
        elif len(channels) != halvings:
            raise ValueError(
                f"encoder {self.encoder!r} halves the image {halvings} times, so decoder_channels must be {halvings} "
                f"positive numbers, coarsest first; got {tuple(channels)}"
            )
        decoder = UnetDecoder(
            encoder.spec,
            channels,
            make_block=partial(BLOCKS[self.decoder_block], **self._block_options()),
            center=_center(self.center, encoder.spec.channels[-1]),
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
    """Options of the U-Net as it was published, batch-normed and padded, besides its heads.

    Attributes:
        channels: at each size, from full resolution down; the decoder has the same on its way up.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`, after every size's convolutions, down and up.
        upsample: "deconv" as in the paper, "nearest" or "bilinear".
    """

    channels: Sequence[int] = (64, 128, 256, 512, 1024)
    upsample: str = "deconv"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.channels) < 2:
            raise ValueError(f"channels must be at least two numbers, got {tuple(self.channels)}")

    def build(self) -> Segmenter:
        """The network."""
        attention = {"attention": self.attention, "attention_reduction": self.attention_reduction}
        encoder = PlainEncoder(self.channels, in_chans=self.in_chans, **attention)  # type: ignore[arg-type]
        make_block = partial(UnetBlock, upsample=self.upsample, **attention)  # type: ignore[arg-type]
        decoder = UnetDecoder(encoder.spec, tuple(reversed(self.channels[:-1])), make_block=make_block)
        return self.wire(encoder, decoder)


def _center(name: str, channels: int) -> nn.Module | None:
    if name == "conv":
        return nn.Sequential(ConvNormAct(channels, channels), ConvNormAct(channels, channels))
    if name == "pyramid":
        pooling = PyramidPooling(channels)
        return nn.Sequential(pooling, ConvNormAct(pooling.out_channels, channels))
    return None
