"""Scores of right and wrong pixels that are computed from sums of counts, and their means."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from ._average import ONE
from ._class_accumulator import ClassAccumulator
from ._class_mean import ClassAverage, class_mean
from ._counts import Counts, class_counts, nan_if_out_of_range
from ._masks import Mask
from ._options import Average, Empty, Reduction, check_options

Rate = Callable[[Counts], Tensor]
"""Function from counts (..., K) in floating point to scores (..., K); 0/0 is NaN."""

Joint = Callable[[Counts], Tensor]
"""Function from counts (..., K) of all labels to one score of all classes, (..., 1); 0/0 is NaN."""


def rate_score(
    rate: Rate,
    pred_masks: Mask,
    target_masks: Mask,
    *,
    average: Average,
    class_average: ClassAverage,
    num_classes: int | None,
    classes: Sequence[int] | None,
    ignore_index: int | None,
    empty: Empty,
    reduction: Reduction,
    joint: Joint | None = None,
) -> Tensor:
    """Return the mean of a rate in float32, or the rates before the mean; NaN where there is nothing to score."""
    check_options(average, num_classes, empty, reduction, class_average=class_average, classes=classes)
    counts = class_counts(pred_masks, target_masks, num_classes=num_classes, classes=classes, ignore_index=ignore_index)
    counts = counts.scored(empty) if joint is None else counts
    if average == "micro":
        counts = counts.over_images()
    scores, support = _scores(rate, joint, counts, empty, class_average)
    if reduction == "none":
        return scores.squeeze(-1).float()
    return nan_if_out_of_range(class_mean(scores, support).nanmean().float(), counts.valid)


class RateAccumulator(ClassAccumulator):
    """Mean of a rate over many batches and processes. A subclass defines the rate in `_rate`, and maybe `_joint`."""

    _joint: Joint | None = None

    def update(self, pred_masks: Mask, target_masks: Mask) -> Self:
        """Add a batch. Masks and errors are those of the function."""
        counts = self._counts(pred_masks, target_masks)
        seen = counts.valid.sum().view(1)
        counts = counts.scored(self.empty) if self._joint is None else counts
        if self.average == "micro":
            return self._add(torch.cat([*counts.over_images(), seen]))
        images = class_mean(*self._scores(counts))
        scored = ~images.isnan()
        fixed = (images.nan_to_num(0) * ONE).round().long()
        return self._add(torch.cat([fixed.sum().view(1), scored.sum().view(1), seen]))

    def compute(self) -> float:
        """Return the mean score of all images; NaN if there is nothing to score in any of them.

        Raises:
            ValueError: if there was no valid pixel, or a label was out of range.
        """
        sums = self._sums()
        self._check_seen(sums[-1])
        if self.average == "per_image":
            total, images, _ = sums.tolist()
            return float(total / (ONE * images)) if images else float("nan")
        counts = Counts(*sums[:-1].view(4, -1))
        return float(class_mean(*self._scores(counts)))

    def _rate(self, counts: Counts) -> Tensor:
        raise NotImplementedError

    def _scores(self, counts: Counts) -> tuple[Tensor, Tensor | None]:
        return _scores(self._rate, self._joint, counts, self.empty, self.class_average)


def _scores(
    rate: Rate, joint: Joint | None, counts: Counts, empty: Empty, class_average: ClassAverage
) -> tuple[Tensor, Tensor | None]:
    """Return the scores of classes, or of all together, and their weights. A score is NaN where nothing is scored.

    Where a rate is 0/0 the score is 1 for two equal masks and 0 for others, except where neither mask has the class.
    """
    # Not every device knows float64.
    dtype = torch.float32 if counts.valid.device.type == "mps" else torch.float64
    counts = Counts(*(part.to(dtype) for part in counts))
    together = Counts(*(part.sum(-1, keepdim=True) for part in counts)) if class_average == "micro" else counts
    found, pred, target, valid = together
    scores = rate(together) if joint is None else joint(counts)
    scores = torch.where(scores.isnan(), ((found == pred) & (found == target)).to(dtype), scores)
    if empty != "perfect":
        scores = scores.masked_fill(pred + target == 0, torch.nan)
    scores = scores.masked_fill(valid <= 0, torch.nan)
    return scores, target if class_average == "weighted" else None
