"""Scores that are ratios of counts, and their means over pixels, classes and images."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from ._class_accumulator import ClassAccumulator
from ._class_mean import ClassAverage, class_mean
from ._counts import Counts, nan_if_out_of_range
from ._masks import Mask
from ._options import Average, Empty, Reduction

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

    def of_classes(self, class_average: ClassAverage) -> "Ratios":
        """Return one ratio of all classes, (..., 1), if `class_average` is "micro"."""
        return Ratios(*(counts.sum(-1, keepdim=True) for counts in self)) if class_average == "micro" else self

    def scored(self, empty: Empty) -> "Ratios":
        """Return 1/1 for classes that neither mask has, if `empty` is "perfect"."""
        if empty != "perfect":
            return self
        nothing = (self.denominator == 0) & (self.valid > 0)
        return Ratios(self.numerator + nothing, self.denominator + nothing, self.valid)


def averaged(
    ratios: Ratios,
    *,
    average: Average,
    class_average: ClassAverage = "macro",
    support: Tensor | None = None,
    empty: Empty,
    reduction: Reduction,
) -> Tensor:
    """Return the mean score in float32, or the scores before the mean; NaN where there is nothing to score.

    Args:
        ratios: ratios of each image and class, (N, K).
        average: mean over pixels or images.
        class_average: mean over classes.
        support: pixels that the truth has of each class, (N, K); needed for the class average "weighted".
        empty: score of a class that neither mask has.
        reduction: "mean" or "none".

    Returns:
        A scalar. With reduction "none", (K,) for "micro" and (N, K) for "per_image", without the axis K if K is 1.
    """
    if average == "micro":
        ratios, support = ratios.over_images(), None if support is None else support.sum(0)
    ratios = ratios.of_classes(class_average).scored(empty)
    scores = (ratios.numerator / ratios.denominator).masked_fill(ratios.valid < 0, torch.nan)  # 0/0 is NaN
    if reduction == "none":
        return scores.squeeze(-1)
    mean = class_mean(scores, support if class_average == "weighted" else None).nanmean()
    return nan_if_out_of_range(mean, ratios.valid)


def fixed_point(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return scores in units of 1/ONE, rounded to nearest; 0 where the denominator is 0."""
    denominator = denominator.clamp(min=1)
    return (numerator * ONE + denominator // 2) // denominator


class AverageAccumulator(ClassAccumulator):
    """Mean of ratios over many batches and processes. A subclass defines the ratio in `_ratios`."""

    def update(self, pred_masks: Mask, target_masks: Mask) -> Self:
        """Add a batch. Masks and errors are those of the function."""
        counts = self._counts(pred_masks, target_masks)
        ratios = self._ratios(counts.scored(self.empty)._replace(valid=counts.valid))
        if self.average == "micro":
            support = [counts.target.sum(0)] if self.class_average == "weighted" else []
            return self._add(torch.cat([*ratios.over_images(), *support]))
        ratios = ratios.of_classes(self.class_average).scored(self.empty)
        weights = (ratios.denominator > 0).long()
        if self.class_average == "weighted":
            weights = weights * counts.target
        totals = weights.sum(1)
        images = (weights * fixed_point(ratios.numerator, ratios.denominator)).sum(1)
        scores = (images + totals // 2) // totals.clamp(min=1)
        return self._add(torch.stack([scores.sum(), (totals > 0).sum(), counts.valid.sum()]))

    def compute(self) -> float:
        """Return the mean score of all images, 0 to 1; NaN if there is nothing to score in any of them.

        Raises:
            ValueError: if there was no valid pixel, or a label was out of range.
        """
        weighted = self.average == "micro" and self.class_average == "weighted"
        sums = self._sums().view(4 if weighted else 3, -1)
        self._check_seen(sums[2])
        if self.average == "per_image":
            total, images, _ = sums.flatten().tolist()
            return float(total / (ONE * images)) if images else float("nan")
        ratios = Ratios(*sums[:3]).of_classes(self.class_average).scored(self.empty)
        return float(class_mean(ratios.numerator.double() / ratios.denominator, sums[3] if weighted else None))

    def _ratios(self, counts: Counts) -> Ratios:
        raise NotImplementedError
