"""Scores that are ratios of counts, and their means over pixels, classes and images."""

from typing import Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor

from .._checks import check_choice
from ._accumulator import Accumulator
from ._counts import Counts, class_counts
from ._masks import Mask

Average = Literal["micro", "per_image"]
Empty = Literal["perfect", "skip"]
Reduction = Literal["mean", "none"]

ONE = 1 << 32
"""A score of 1 in fixed point.

Unlike a sum of floats, a sum of integers does not depend on the order of its terms. The rounding error of a score is at
most 1.2e-10. Only an image of 2**30 pixels, or 2**31 images, would overflow.
"""


class Ratios(NamedTuple):
    """Numerators and denominators of scores, and numbers of valid pixels: int64 (N, K) each, or (K,) for all images.

    A denominator of 0 means that there is nothing to score.
    """

    numerator: Tensor
    denominator: Tensor
    valid: Tensor

    def over_images(self) -> "Ratios":
        """Return the ratios over all pixels of all images, (K,)."""
        return Ratios(*(counts.sum(0) for counts in self))

    def scored(self, empty: Empty) -> "Ratios":
        """Return 1/1 for classes that neither mask has, if `empty` is "perfect"."""
        if empty == "skip":
            return self
        nothing = (self.denominator == 0) & (self.valid > 0)
        return Ratios(self.numerator + nothing, self.denominator + nothing, self.valid)


def check_options(average: str, num_classes: int | None, empty: str = "perfect", reduction: str = "mean") -> None:
    """Raise ValueError if an option is unknown, or there are fewer than two classes."""
    check_choice("average", average, get_args(Average))
    check_choice("empty", empty, get_args(Empty))
    check_choice("reduction", reduction, get_args(Reduction))
    check_num_classes(num_classes)


def check_num_classes(num_classes: int | None) -> None:
    """Raise ValueError if there are fewer than two classes."""
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}: use num_classes=None for masks")


def check_images(images: int, reduction: str) -> None:
    """Raise ValueError for the mean over no image."""
    if reduction == "mean" and images == 0:
        raise ValueError("a mean needs at least one image, got none: skip empty batches, or use reduction='none'")


def averaged(ratios: Ratios, *, average: Average, empty: Empty, reduction: Reduction) -> Tensor:
    """Return the mean score in float32, or the scores before the mean; NaN where there is nothing to score.

    Returns:
        A scalar. With reduction "none", (K,) for "micro" and (N, K) for "per_image", without the axis K if K is 1.
    """
    check_images(len(ratios.valid), reduction)
    ratios = (ratios.over_images() if average == "micro" else ratios).scored(empty)
    scores = ratios.numerator / ratios.denominator  # 0/0 is NaN
    if reduction == "none":
        return scores.squeeze(-1)
    return scores.nanmean(-1).nanmean()


def fixed_point(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return scores in units of 1/ONE, rounded to nearest; 0 where the denominator is 0."""
    denominator = denominator.clamp(min=1)
    return (numerator * ONE + denominator // 2) // denominator


class AverageAccumulator(Accumulator):
    """Mean of ratios over many batches and processes. A subclass defines the ratio in `_ratios`."""

    def __init__(
        self,
        *,
        average: Average = "micro",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        empty: Empty = "perfect",
    ) -> None:
        check_options(average, num_classes, empty)
        super().__init__(average=average, num_classes=num_classes, ignore_index=ignore_index, empty=empty)
        self.average: Average = average
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.empty: Empty = empty

    def update(self, pred_masks: Mask, target_masks: Mask) -> Self:
        """Add a batch. Masks and errors are those of the function."""
        counts = class_counts(pred_masks, target_masks, num_classes=self.num_classes, ignore_index=self.ignore_index)
        ratios = self._ratios(counts)
        if self.average == "micro":
            return self._add(torch.cat(ratios.over_images()))
        ratios = ratios.scored(self.empty)
        classes = (ratios.denominator > 0).sum(1)
        images = fixed_point(ratios.numerator, ratios.denominator).sum(1)  # 0 where there is nothing to score
        scores = (images + classes // 2) // classes.clamp(min=1)
        return self._add(torch.stack([scores.sum(), (classes > 0).sum(), ratios.valid.sum()]))

    def compute(self) -> float:
        """Return the mean score of all images, 0 to 1; NaN if there is nothing to score in any of them.

        Raises:
            ValueError: if there was no valid pixel.
        """
        sums = self._sums().view(3, -1)
        if not sums[2].any():
            raise self._nothing_seen()
        if self.average == "per_image":
            total, images, _ = sums.flatten().tolist()
            return float(total / (ONE * images)) if images else float("nan")
        ratios = Ratios(*sums).scored(self.empty)
        return float((ratios.numerator.double() / ratios.denominator).nanmean())

    def _ratios(self, counts: Counts) -> Ratios:
        raise NotImplementedError
