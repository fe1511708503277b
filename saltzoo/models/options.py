"""Options that networks with a pyramid share: heads and attention."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

from torch import nn

from ..contracts import FeatureSpec
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
        deep_supervision_channels: channels inside the heads that make these; None for a single 1x1 convolution.
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
    deep_supervision_channels: int | None = None
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
        if self.deep_supervision_channels is not None and self.deep_supervision_channels < 1:
            raise ValueError(
                f"deep_supervision_channels must be at least 1, or None for a 1x1 convolution, "
                f"got {self.deep_supervision_channels}"
            )
        if not self.hypercolumn:
            self._refuse_idle("hypercolumn", "hypercolumn=True")
        if not self.deep_supervision:
            self._refuse_idle("deep_supervision", "deep_supervision=True")
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"drop_rate must be at least 0 and below 1, got {self.drop_rate}")

    def _deep_supervision(self, decoder: Decoder) -> nn.Module | None:
        if not self.deep_supervision:
            return None
        return DeepSupervisionHead(decoder.channels, self.num_classes, hidden=self.deep_supervision_channels)

    def _refuse_idle(self, part: str, switch: str) -> None:
        """Refuses options (PART_...) of a part that is not there: whoever gives them believes that they work."""
        for option in fields(self):
            value = getattr(self, option.name)
            value = tuple(value) if isinstance(value, list) else value
            if option.name.startswith(f"{part}_") and value != option.default:
                raise ValueError(
                    f"{option.name}={value!r} is an option of the {part.replace('_', ' ')}, and there is none: "
                    f"leave it at {option.default!r}, or say {switch}"
                )

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
            deep_supervision=self._deep_supervision(decoder),
        )


@dataclass(frozen=True, kw_only=True)
class AttentionOptions(HeadOptions):
    """Which attention a network has, besides its heads.

    Attributes:
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`.
        attention_reduction: how far its channel branch narrows; None for its own default.

    Raises:
        ValueError: for a value or a combination that makes no sense.
    """

    attention: str = "none"
    attention_reduction: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention == "none":
            self._refuse_idle("attention", 'which, such as attention="scse"')
