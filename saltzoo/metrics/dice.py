"""Dice score of masks, which is the F1 score of their pixels."""

from collections.abc import Sequence

from torch import Tensor

from ._average import AverageAccumulator, Ratios, averaged
from ._class_mean import ClassAverage
from ._counts import Counts, class_counts
from ._masks import Mask
from ._options import Average, Empty, Reduction, check_options


def _dice(counts: Counts) -> Ratios:
    return Ratios(2 * counts.intersection, counts.pred + counts.target, counts.valid)


def dice_score(
    pred_masks: Mask,
    target_masks: Mask,
    *,
    average: Average = "micro",
    class_average: ClassAverage = "macro",
    num_classes: int | None = None,
    classes: Sequence[int] | None = None,
    ignore_index: int | None = None,
    empty: Empty = "perfect",
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the Dice score: twice the pixels in both masks / the sum of the pixels of each, for each class.

    For one image and class it is 2 IoU / (1 + IoU). Masks, options and shapes are those of `iou_score`.

    Args:
        pred_masks: binary masks, channels or labels, see `iou_score`.
        target_masks: truth in the same form.
        average: "micro" or "per_image".
        class_average: mean over classes: "macro", "weighted" or "micro".
        num_classes: number of classes C, if the masks hold labels 0 to C - 1; others as in `iou_score`.
        classes: classes or channels that are scored; None for all.
        ignore_index: value of the truth at pixels that are left out.
        empty: score of a class that neither mask has: "perfect" is 1, "skip" leaves it out; "present" leaves out every
            class that the truth does not have.
        reduction: "mean", or "none" for the scores before the mean.

    Returns:
        A float32 tensor in 0..1 on the masks' device; its shape is that of `iou_score`.

    Raises:
        TypeError: if masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: if shapes, devices, labels or options do not fit.

    Example:
        >>> import torch
        >>> dice_score(torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[1, 1, 1, 0]]]))
        tensor(0.6667)
    """
    check_options(average, num_classes, empty, reduction, class_average=class_average, classes=classes)
    counts = class_counts(pred_masks, target_masks, num_classes=num_classes, classes=classes, ignore_index=ignore_index)
    return averaged(
        _dice(counts.scored(empty)),
        average=average,
        class_average=class_average,
        support=counts.target,
        empty=empty,
        reduction=reduction,
    )


class DiceScore(AverageAccumulator):
    """Dice score over many batches and processes. Options and means are those of `dice_score`.

    Example:
        >>> import torch
        >>> pred, truth = torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[1, 1, 1, 0]]])
        >>> round(DiceScore().update(pred, truth).compute(), 4)
        0.6667
    """

    def _ratios(self, counts: Counts) -> Ratios:
        return _dice(counts)
