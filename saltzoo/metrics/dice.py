"""Dice score of masks, the F1 score of their pixels."""

from torch import Tensor

from ._average import Average, AverageAccumulator, Empty, Ratios, Reduction, averaged, check_options
from ._counts import Counts, class_counts
from ._masks import Mask


def _dice(counts: Counts) -> Ratios:
    return Ratios(2 * counts.intersection, counts.pred + counts.target, counts.valid)


def dice_score(
    pred_masks: Mask,
    target_masks: Mask,
    *,
    average: Average = "micro",
    num_classes: int | None = None,
    ignore_index: int | None = None,
    empty: Empty = "perfect",
    reduction: Reduction = "mean",
) -> Tensor:
    """Dice = twice the pixels in both masks / pixels of one plus pixels of the other, of each class.

    Of one image and class it is 2 IoU / (1 + IoU). Masks, options, what is done with empty masks, and what
    comes back are those of `iou_score`.

    Args:
        pred_masks: binary masks, channels, or labels.
        target_masks: the same for the truth.
        average: "micro" or "per_image".
        num_classes: C, if the masks hold labels 0 to C - 1.
        ignore_index: pixels whose truth has this value count nowhere.
        empty: where neither mask has a pixel, "perfect" scores 1, "skip" leaves it out.
        reduction: "mean", or "none": what is averaged.

    Returns:
        A float32 tensor in 0..1 on the masks' device; its shape is that of `iou_score`.

    Raises:
        TypeError: masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: shapes, devices, labels or options do not fit, or a mean is asked of no image.

    Example:
        >>> import torch
        >>> dice_score(torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[1, 1, 1, 0]]]))
        tensor(0.6667)
    """
    check_options(average, num_classes, empty, reduction)
    counts = class_counts(pred_masks, target_masks, num_classes=num_classes, ignore_index=ignore_index)
    return averaged(_dice(counts), average=average, empty=empty, reduction=reduction)


class DiceScore(AverageAccumulator):
    """Dice over many batches and processes; options and means are those of `dice_score`.

    Example:
        >>> import torch
        >>> pred, truth = torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[1, 1, 1, 0]]])
        >>> round(DiceScore().update(pred, truth).compute(), 4)
        0.6667
    """

    def _ratios(self, counts: Counts) -> Ratios:
        return _dice(counts)
