"""Test-time augmentation: transforms of a prepared batch that can be undone on the maps of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, Protocol

import torch.nn.functional as F
from torch import Tensor

from .._checks import check_choice, check_counts, check_numbers

NAMES = ("hflip", "flips", "d4", "scales")
FACTORS = (0.8, 1.25)
"""Factors of the two scales that "scales" adds to the batch as it is."""

Mean = Literal["probabilities", "logits"]


class Transform(Protocol):
    """A transform of a prepared batch and its inverse on maps. Any frozen class with these two methods is one."""

    def apply(self, x: Tensor, /) -> Tensor:
        """Prepared batch N C H W, with the scalar's plane if the model reads a scalar -> N C H' W'."""

    def invert(self, y: Tensor, size: tuple[int, int], /) -> Tensor:
        """Maps N K H' W' of a transformed batch -> N K H W, where `size` is (H, W)."""


@dataclass(frozen=True)
class HorizontalFlip:
    """The mirror image: columns in reverse order."""

    def apply(self, x: Tensor, /) -> Tensor:
        """N C H W -> N C H W."""
        return x.flip(-1)

    def invert(self, y: Tensor, size: tuple[int, int], /) -> Tensor:
        """N K H W -> N K H W."""
        return y.flip(-1)


@dataclass(frozen=True)
class VerticalFlip:
    """Rows in reverse order."""

    def apply(self, x: Tensor, /) -> Tensor:
        """N C H W -> N C H W."""
        return x.flip(-2)

    def invert(self, y: Tensor, size: tuple[int, int], /) -> Tensor:
        """N K H W -> N K H W."""
        return y.flip(-2)


@dataclass(frozen=True)
class Transpose:
    """Rows as columns. With the two flips it makes every rotation by 90 degrees."""

    def apply(self, x: Tensor, /) -> Tensor:
        """N C H W -> N C W H."""
        return x.transpose(-1, -2)

    def invert(self, y: Tensor, size: tuple[int, int], /) -> Tensor:
        """N K W H -> N K H W."""
        return y.transpose(-1, -2)


@dataclass(frozen=True)
class Scale:
    """Bilinear resampling by a factor, with antialiasing where it shrinks; the maps are resampled to the first size.

    Attributes:
        factor: new height and width as a multiple of the old.
        multiple: number to a multiple of which the new height and width are rounded, that of the model's preprocess.

    Raises:
        ValueError: if the factor is not above 0 or `multiple` is below 1.

    Example:
        >>> import torch
        >>> x = torch.rand(1, 1, 101, 64)
        >>> scale = Scale(0.5, multiple=16)
        >>> scale.apply(x).shape, scale.invert(scale.apply(x), (101, 64)).shape
        (torch.Size([1, 1, 48, 32]), torch.Size([1, 1, 101, 64]))
    """

    factor: float
    multiple: int = 1

    def __post_init__(self) -> None:
        check_counts(multiple=self.multiple)
        check_numbers(factor=self.factor)
        if not 0 < self.factor < float("inf"):
            raise ValueError(f"factor must be a finite number above 0, got {self.factor}")

    def apply(self, x: Tensor, /) -> Tensor:
        """N C H W -> N C H' W'."""
        height, width = (
            max(1, round(side * self.factor / self.multiple)) * self.multiple for side in (x.shape[-2], x.shape[-1])
        )
        return _resized(x, (height, width))

    def invert(self, y: Tensor, size: tuple[int, int], /) -> Tensor:
        """N K H' W' -> N K H W."""
        return _resized(y, size)


@dataclass(frozen=True)
class Compose:
    """Transforms one after the other; without any, the batch as it is.

    Attributes:
        transforms: applied in this order, undone in the reverse order.

    Example:
        >>> import torch
        >>> turn = Compose((Transpose(), HorizontalFlip()))
        >>> x = torch.rand(1, 1, 2, 3)
        >>> turn.apply(x).equal(x.rot90(-1, (-2, -1))), turn.invert(turn.apply(x), (2, 3)).equal(x)
        (True, True)
    """

    transforms: tuple[Transform, ...] = ()

    def apply(self, x: Tensor, /) -> Tensor:
        """N C H W -> N C H' W'."""
        for transform in self.transforms:
            x = transform.apply(x)
        return x

    def invert(self, y: Tensor, size: tuple[int, int], /) -> Tensor:
        """N K H' W' -> N K H W."""
        probe, sizes = y.new_empty((0, 1, *size)), []  # a batch without images tells the sizes between transforms
        for transform in self.transforms:
            sizes.append((probe.shape[-2], probe.shape[-1]))
            probe = transform.apply(probe)
        for transform, before in zip(reversed(self.transforms), reversed(sizes), strict=True):
            y = transform.invert(y, before)
        return y


def transforms_of(tta: str | Sequence[Transform] | None, multiple: int) -> tuple[Transform, ...]:
    """Return the transforms of a name or a sequence; none for None.

    Args:
        tta: "hflip": the batch and its mirror image. "flips": the four combinations of both flips. "d4": these four
            and their transposes. "scales": the batch as it is and at 0.8 and 1.25 times its size. Or transforms.
        multiple: number of which heights and widths of prepared batches are multiples.

    Raises:
        TypeError: if an item has no `apply` and `invert`.
        ValueError: if the name is unknown or the sequence is empty.
    """
    if tta is None:
        return ()
    if not isinstance(tta, str):
        return _checked(tta)
    check_choice("tta", tta, (None, *NAMES))
    if tta == "scales":
        return (Compose(), *(Scale(factor, multiple) for factor in FACTORS))
    parts = {"hflip": (HorizontalFlip(),), "flips": (VerticalFlip(), HorizontalFlip())}
    chosen: tuple[Transform, ...] = parts.get(tta, (Transpose(), VerticalFlip(), HorizontalFlip()))
    picks = product((False, True), repeat=len(chosen))
    return tuple(Compose(tuple(t for t, taken in zip(chosen, pick, strict=True) if taken)) for pick in picks)


def _checked(tta: Sequence[Transform]) -> tuple[Transform, ...]:
    try:
        transforms = tuple(tta)
        methods = [(transform.apply, transform.invert) for transform in transforms]
    except (TypeError, AttributeError):
        methods = None
    if methods is None or any(isinstance(transform, type) for transform in transforms):
        raise TypeError(
            f"tta must be None, one of {', '.join(map(repr, NAMES))}, or a sequence of transforms with the methods "
            f"apply and invert, got {tta!r}"
        )
    if not transforms:
        raise ValueError("tta must hold one or more transforms, got none: give None to predict the batch as it is")
    return transforms


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    if (x.shape[-2], x.shape[-1]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
