"""Scores that are a ratio of counts, and their means over pixels, classes and images."""

from typing import Literal, NamedTuple, Self

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

Sums of integers do not depend on the order of their terms, sums of floats do. A score is rounded by at most
1.2e-10. Overflow would take an image of 2**30 pixels, or 2**31 images.
"""


class Ratios(NamedTuple):
    """Numerators and denominators of scores, and the pixels that count: int64 (N, K) each, or (K,) of all images.

    Where a denominator is 0 there is nothing to score.
    """

    numerator: Tensor
    denominator: Tensor
    valid: Tensor

    def over_images(self) -> "Ratios":
        """Of all pixels of all images, (K,)."""
        return Ratios(*(counts.sum(0) for counts in self))

    def scored(self, empty: Empty) -> "Ratios":
        """With 1/1 for what neither mask has, if that is to be perfect."""
        if empty == "skip":
            return self
        nothing = (self.denominator == 0) & (self.valid > 0)
        return Ratios(self.numerator + nothing, self.denominator + nothing, self.valid)


def check_options(average: str, num_classes: int | None, empty: str = "perfect", reduction: str = "mean") -> None:
    """Refuses options that the averages do not know.

    Raises:
        ValueError: an unknown word, or fewer than two classes.
    """
    check_choice("average", average, ("micro", "per_image"))
    check_choice("empty", empty, ("perfect", "skip"))
    check_choice("reduction", reduction, ("mean", "none"))
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"num_classes={num_classes} is no choice of labels. Give at least 2, or None for masks.")


def check_images(images: int, reduction: str) -> None:
    """Refuses a mean of no image.

    Raises:
        ValueError: if one is asked for.
    """
    if reduction == "mean" and images == 0:
        raise ValueError("no image was given, so there is no mean. Give at least one, or use reduction='none'.")


def averaged(ratios: Ratios, *, average: Average, empty: Empty, reduction: Reduction) -> Tensor:
    """Mean score, float32, or the scores that it is the mean of; NaN where there is nothing to score.

    Returns:
        A scalar; for "none" micro (K,), per image (N, K), both without K where it is 1.
    """
    check_images(len(ratios.valid), reduction)
    ratios = (ratios.over_images() if average == "micro" else ratios).scored(empty)
    scores = ratios.numerator / ratios.denominator  # 0/0 is NaN
    if reduction == "none":
        return scores.squeeze(-1)
    return scores.nanmean(-1).nanmean()


def fixed_point(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Scores in units of 1/ONE, rounded to the nearest; 0 where the denominator is 0."""
    denominator = denominator.clamp(min=1)
    return (numerator * ONE + denominator // 2) // denominator


class AverageAccumulator(Accumulator):
    """A mean of ratios over many batches and processes; a subclass says which ratio."""

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
        """Add a batch; takes the masks that the function takes, and raises what it raises."""
        counts = class_counts(pred_masks, target_masks, num_classes=self.num_classes, ignore_index=self.ignore_index)
        ratios = self._ratios(counts)
        if self.average == "micro":
            return self._add(torch.cat(ratios.over_images()))
        ratios = ratios.scored(self.empty)
        classes = (ratios.denominator > 0).sum(1)
        images = fixed_point(ratios.numerator, ratios.denominator).sum(1)  # zeros where nothing is scored
        scores = (images + classes // 2) // classes.clamp(min=1)
        return self._add(torch.stack([scores.sum(), (classes > 0).sum(), ratios.valid.sum()]))

    def compute(self) -> float:
        """Mean score of all images seen, in 0..1; NaN if none of them has anything to score.

        Raises:
            ValueError: no valid pixel was seen.
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
