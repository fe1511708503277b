"""Precision: how much of what is predicted is true."""

from collections.abc import Sequence

from torch import Tensor

from ._class_mean import ClassAverage
from ._counts import Counts
from ._masks import Mask
from ._options import Average, Empty, Reduction
from ._rates import RateAccumulator, rate_score


def _precision(counts: Counts) -> Tensor:
    return counts.intersection / counts.pred


def precision_score(
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
    """Return the precision: pixels in both masks / pixels of the prediction, for each class.

    1 - precision is the share of false alarms among the predicted pixels. A class that only the truth has scores 0.

    Args:
        pred_masks: binary masks, channels or labels, see `iou_score`.
        target_masks: truth in the same form.
        average: "micro" for the pixels of all images, "per_image" for the mean over images.
        class_average: mean over classes: "macro", "weighted" by the pixels of the truth, or "micro", the pixels of all
            classes.
        num_classes: number of classes C, if the masks hold labels 0 to C - 1; others as in `iou_score`.
        classes: classes or channels that are scored; None for all.
        ignore_index: value of the truth at pixels that are left out.
        empty: score of a class that neither mask has: "perfect" is 1, "skip" leaves it out; "present" leaves out every
            class that the truth of an image does not have.
        reduction: "mean", or "none" for the scores before the mean.

    Returns:
        A float32 tensor on the masks' device; its range is 0..1 and its shape that of `iou_score`.

    Raises:
        TypeError: if masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: if shapes, devices, labels or options do not fit.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[[1, 1, 1, 0]]])
        >>> precision_score(torch.tensor([[[1, 0, 0, 1]]]), truth)
        tensor(0.5000)
    """
    return rate_score(
        _precision,
        pred_masks,
        target_masks,
        average=average,
        class_average=class_average,
        num_classes=num_classes,
        classes=classes,
        ignore_index=ignore_index,
        empty=empty,
        reduction=reduction,
    )


class PrecisionScore(RateAccumulator):
    """Precision over many batches and processes. Options and means are those of `precision_score`.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[[1, 1, 1, 0]]])
        >>> round(PrecisionScore().update(torch.tensor([[[1, 1, 0, 1]]]), truth).compute(), 4)
        0.6667
    """

    def _rate(self, counts: Counts) -> Tensor:
        return _precision(counts)
