"""How the parts of a model fit together: what an encoder, a decoder, a head and a whole model take and return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from .preprocess import Preprocess

Size = tuple[int, int] | torch.Size
"""Height and width in pixels."""

TILE_SIZE = (101, 101)
"""Height and width of the tiles that weights were trained on, where their checkpoint does not say it."""


@dataclass(frozen=True)
class FeatureSpec:
    """The feature maps that an encoder returns, finest first.

    Attributes:
        channels: channels of each map.
        reductions: nominal factor by which each map is smaller than the input. The exact size is the map's own: it
            differs by a pixel for odd sizes and for convolutions without padding.

    Raises:
        ValueError: if the two differ in length or are empty, or the reductions are not increasing powers of two.

    Example:
        >>> FeatureSpec(channels=(64, 128), reductions=(4, 8)).coarsest
        8
    """

    channels: tuple[int, ...]
    reductions: tuple[int, ...]

    def __post_init__(self) -> None:
        powers = all(r > 0 and r & (r - 1) == 0 for r in self.reductions)
        if not self.channels or len(self.channels) != len(self.reductions):
            raise ValueError(
                f"channels and reductions must hold one number for each map, got {self.channels} and {self.reductions}"
            )
        if not powers or list(self.reductions) != sorted(set(self.reductions)):
            raise ValueError(f"reductions must be increasing powers of two, got {self.reductions}")

    @property
    def coarsest(self) -> int:
        """The reduction of the last map."""
        return self.reductions[-1]

    def channels_at(self, reduction: int) -> int:
        """Return the channels of the map at `reduction`, 0 if there is none."""
        return dict(zip(self.reductions, self.channels, strict=True)).get(reduction, 0)


class SegOutput(NamedTuple):
    """Output of a model that returns more than a mask: deep supervision, image classifier or auxiliary head.

    Which of them a model returns is decided when it is built, and is the same in training and evaluation. torch.vmap
    must be told of those that are None, as in `out_dims=SegOutput(0, 0, None, None)` for deep supervision alone.

    Attributes:
        logits: logits of each pixel, N K H W.
        maps: logits from every decoder map at the map's size, N K h w each, coarsest first (deep supervision).
        image: logit of whether the image holds any salt, N 1.
        auxiliary: logits from a stage of the encoder, N K h w.
    """

    logits: Tensor
    maps: tuple[Tensor, ...] = ()
    image: Tensor | None = None
    auxiliary: Tensor | None = None


class Encoder(Protocol):
    """A module from an image to feature maps.

    Attributes:
        spec: channels and reductions of the maps.
    """

    spec: FeatureSpec

    def __call__(self, x: Tensor, /) -> list[Tensor]:
        """Run `forward`."""

    def forward(self, x: Tensor, /) -> list[Tensor]:
        """N C H W -> maps N c h w, finest first."""


class Decoder(Protocol):
    """A module from an encoder's feature maps to maps that a head reads.

    Attributes:
        channels: channels of each map it returns.
        reduction: factor by which the last map is smaller than the image.
    """

    channels: tuple[int, ...]
    reduction: int

    def __call__(self, features: Sequence[Tensor], size: Size, /) -> list[Tensor]:
        """Run `forward`."""

    def forward(self, features: Sequence[Tensor], size: Size, /) -> list[Tensor]:
        """Feature maps, finest first, and the image's (H, W) -> maps N c h w, coarsest first."""


class Head(Protocol):
    """A module from a decoder's maps to logits.

    Attributes:
        reads_image: whether `forward` uses the logit of an image classifier.
    """

    reads_image: bool

    def __call__(self, maps: Sequence[Tensor], size: Size, image: Tensor | None = None, /) -> Tensor:
        """Run `forward`."""

    def forward(self, maps: Sequence[Tensor], size: Size, image: Tensor | None = None, /) -> Tensor:
        """Maps, coarsest first, (H, W) and the image's logit N 1 -> N num_classes H W."""


class SegmentationModel(Protocol):
    """What `saltzoo.predict` takes: a module with `preprocess` and a forward from prepared images to logits.

    Attributes:
        preprocess: conversion of images to the network's input.
    """

    preprocess: Preprocess

    def __call__(self, x: Tensor, /) -> Tensor | SegOutput:
        """Run `forward`."""

    def forward(self, x: Tensor, /) -> Tensor | SegOutput:
        """N C H W -> logits N num_classes H W, alone or in a SegOutput."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """The module's parameters."""

    def modules(self) -> Iterator[nn.Module]:
        """The module and everything in it."""

    def eval(self) -> Self:
        """Switch to evaluation mode."""


class MaskModel(SegmentationModel, Protocol):
    """A model that says how its probabilities become masks: what the command line takes.

    Attributes:
        threshold: probability above which a pixel counts as salt.
        min_size: number of pixels below which a patch of salt is to be removed.
    """

    threshold: float
    min_size: int


@dataclass(frozen=True)
class ModelConfig:
    """What `create_model` needs to build a model again, without its weights.

    Attributes:
        architecture: name in the registry.
        model_args: every option with its value.
        mask_only: whether heads that only training needs were left out after building.
    """

    architecture: str
    model_args: dict[str, Any]
    mask_only: bool = False
