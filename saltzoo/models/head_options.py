"""Options that several networks share: their heads, above all the one that makes the mask, and their attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .._config import Count, Fraction
from ..contracts import Decoder, Encoder, Head
from ..heads import ClassificationHead, DeepSupervisionHead, HypercolumnHead, SegmentationHead
from ..preprocess import Preprocess
from .options import NetworkOptions
from .segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class HeadOptions(NetworkOptions):
    """Options of a network's heads.

    Attributes:
        hypercolumn: whether the mask is computed from all decoder maps, not only the last (arXiv 1411.5752).
        hypercolumn_channels: channels to which each map is narrowed first; None leaves maps as they are.
        deep_supervision: whether to return logits of every decoder map, for the loss; the model returns a SegOutput.
        deep_supervision_channels: channels inside the heads that make these logits; None for a single 1x1 convolution.
        classifier: "none"; "beside": a logit for "is there any salt?" (the model then returns a SegOutput); "fused":
            the same, and the logit is also a channel of the hypercolumn.
        drop_rate: dropout before the logits of mask and image, 0 to below 1.

    Raises:
        ValueError: if a value is outside its limits, or two options contradict each other.
    """

    hypercolumn: bool = False
    hypercolumn_channels: Count | None = 16
    deep_supervision: bool = False
    deep_supervision_channels: Count | None = None
    classifier: Literal["none", "beside", "fused"] = "none"
    drop_rate: Fraction = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classifier == "fused" and not self.hypercolumn:
            raise ValueError(
                'classifier="fused" is a channel of the hypercolumn, which is off: '
                'add hypercolumn=True, or pass classifier="beside"'
            )
        if not self.hypercolumn:
            self._check_unused("hypercolumn", "hypercolumn=True")
        if not self.deep_supervision:
            self._check_unused("deep_supervision", "deep_supervision=True")

    def wire(self, encoder: Encoder, decoder: Decoder, *, preprocess: Preprocess | None = None) -> Segmenter:
        """Return the network of an encoder, a decoder that reads its maps, and these heads."""
        head = self._mask_head(decoder)  # made first: a seed gives every version of saltzoo the same weights
        classifier = deep_supervision = None
        if self.classifier != "none":
            classifier = ClassificationHead(encoder.spec.channels[-1], drop_rate=self.drop_rate)
        if self.deep_supervision:
            deep_supervision = DeepSupervisionHead(
                decoder.channels, self.num_classes, hidden=self.deep_supervision_channels
            )
        return Segmenter(
            encoder,
            decoder,
            head,
            in_chans=self.in_chans,
            preprocess=preprocess,
            classifier=classifier,
            deep_supervision=deep_supervision,
        )

    def _mask_head(self, decoder: Decoder) -> Head:
        """Return the head that makes the mask: plain or hypercolumn."""
        if not self.hypercolumn:
            return SegmentationHead(
                decoder.channels[-1], self.num_classes, drop_rate=self.drop_rate, scale=decoder.reduction
            )
        return HypercolumnHead(
            decoder.channels,
            self.num_classes,
            reduced=self.hypercolumn_channels,
            reads_image=self.classifier == "fused",
            drop_rate=self.drop_rate,
            scale=decoder.reduction,
        )


@dataclass(frozen=True, kw_only=True)
class AttentionOptions(HeadOptions):
    """Options of a network's attention, besides its heads.

    Attributes:
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`.
        attention_reduction: factor by which the channel branch narrows; None for the attention's default.

    Raises:
        ValueError: if a value is outside its limits, or two options contradict each other.
    """

    attention: str = "none"
    attention_reduction: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention == "none":
            self._check_unused("attention", 'an attention, such as attention="scse"')
