"""Options that every network with a pyramid shares: its heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from ..features import FeatureSpec
from ..heads import ClassificationHead, DeepSupervisionHead, HypercolumnHead, SegmentationHead
from ..preprocess import Preprocess
from .segmenter import Segmenter

CLASSIFIERS = ("none", "beside", "fused")


class Encoder(Protocol):
    """What a decoder needs to know of an encoder."""

    spec: FeatureSpec


class Decoder(Protocol):
    """What heads need to know of a decoder."""

    channels: tuple[int, ...]
    reduction: int


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """Which heads a network has.

    Attributes:
        in_chans: channels of the image.
        num_classes: logits for each pixel.
        hypercolumn: the mask is read from all decoder maps together instead of the last (arXiv 1411.5752).
        hypercolumn_channels: to how many channels each map is narrowed first; None leaves it as it is.
        deep_supervision: logits from every decoder map too, for the loss. The model then returns a SegOutput.
        classifier: "none"; "beside": a logit for "is there any salt?" (a SegOutput again); "fused": the same, which
            is also a channel of the hypercolumn.
        drop_rate: dropout before the logits of mask and image, 0 to below 1.

    Raises:
        ValueError: for a value or a combination that makes no sense.
    """

    in_chans: int = 1
    num_classes: int = 1
    hypercolumn: bool = False
    hypercolumn_channels: int | None = 16
    deep_supervision: bool = False
    classifier: str = "none"
    drop_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.classifier not in CLASSIFIERS:
            raise ValueError(f"unknown classifier {self.classifier!r}: choose one of {list(CLASSIFIERS)}")
        if self.classifier == "fused" and not self.hypercolumn:
            raise ValueError(
                'classifier="fused" is a channel of the hypercolumn, and there is none: '
                'add hypercolumn=True, or say classifier="beside"'
            )
        if self.hypercolumn_channels is not None and self.hypercolumn_channels < 1:
            raise ValueError(
                f"hypercolumn_channels must be at least 1, or None to leave maps as they are, "
                f"got {self.hypercolumn_channels}"
            )
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"drop_rate must be at least 0 and below 1, got {self.drop_rate}")

    def wire(self, encoder: Encoder, decoder: Decoder, *, preprocess: Preprocess | None = None) -> Segmenter:
        """The network of an encoder, a decoder that climbs from it, and these heads."""
        head: nn.Module
        final: dict[str, Any] = {"drop_rate": self.drop_rate, "scale": decoder.reduction}
        if self.hypercolumn:
            head = HypercolumnHead(
                decoder.channels,
                self.num_classes,
                reduced=self.hypercolumn_channels,
                reads_image=self.classifier == "fused",
                **final,
            )
        else:
            head = SegmentationHead(decoder.channels[-1], self.num_classes, **final)
        deepest = encoder.spec.channels[-1]
        return Segmenter(
            encoder,  # type: ignore[arg-type]  # a module with a spec
            decoder,  # type: ignore[arg-type]
            head,
            in_chans=self.in_chans,
            preprocess=preprocess,
            classifier=None if self.classifier == "none" else ClassificationHead(deepest, drop_rate=self.drop_rate),
            deep_supervision=DeepSupervisionHead(decoder.channels, self.num_classes) if self.deep_supervision else None,
        )
