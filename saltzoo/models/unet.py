"""U-Net on any timm encoder."""

from __future__ import annotations

from collections.abc import Sequence

from ..decoders import UnetDecoder
from ..encoders import TimmEncoder
from ..encoders.timm import input_statistics
from ..heads import SegmentationHead
from ..preprocess import Preprocess
from .segmenter import Segmenter

ATTENTION_SITES = ("encoder", "concat", "decoder")


def unet(
    *,
    in_chans: int = 1,
    num_classes: int = 1,
    pretrained_encoder: bool = False,
    cache_dir: str | None = None,
    encoder: str = "resnet34",
    attention: str = "none",
    attention_sites: Sequence[str] = ("encoder", "decoder"),
    attention_reduction: int = 2,
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
) -> Segmenter:
    """A U-Net (arXiv 1505.04597) with a timm network for its way down.

    Args:
        in_chans: channels of the image.
        num_classes: logits for each pixel.
        pretrained_encoder: load timm's ImageNet weights; the model's preprocess is then the encoder's.
        cache_dir: where timm keeps downloads.
        encoder: a timm model name.
        attention: "none" or "scse".
        attention_sites: where it stands: "encoder" (after every stage, in the path, so that later stages and
            skips both see it: arXiv 1808.08127), "concat" (on each decoder block's concatenated map),
            "decoder" (after every decoder block).
        attention_reduction: how far the channel branch narrows.
        decoder_channels: channels of the decoder's blocks, coarsest first, one for each halving.

    Raises:
        ValueError: for an option that is unknown or makes no sense.
    """
    unknown = [site for site in attention_sites if site not in ATTENTION_SITES]
    if unknown or (attention != "none" and not attention_sites):
        raise ValueError(
            f"attention_sites must be one or more of {ATTENTION_SITES}, got {tuple(attention_sites)}; "
            f'for a model without attention say attention="none"'
        )

    def attention_at(site: str) -> str:
        return attention if site in attention_sites else "none"

    down = TimmEncoder(
        encoder,
        in_chans=in_chans,
        pretrained=pretrained_encoder,
        attention=attention_at("encoder"),
        attention_reduction=attention_reduction,
        cache_dir=cache_dir,
    )
    up = UnetDecoder(
        down.spec,
        decoder_channels,
        attention=attention_at("decoder"),
        concat_attention=attention_at("concat"),
        attention_reduction=attention_reduction,
    )
    preprocess = Preprocess.gray(in_chans)
    if pretrained_encoder:
        mean, std = input_statistics(down.backbone, in_chans=in_chans)
        preprocess = Preprocess(mean=mean, std=std)
    head = SegmentationHead(up.channels[-1], num_classes)
    return Segmenter(down, up, head, in_chans=in_chans, preprocess=preprocess)
