"""Intersection over union of masks, also called the Jaccard index."""

from collections.abc import Sequence

from torch import Tensor

from ._average import AverageAccumulator, Ratios, averaged
from ._class_mean import ClassAverage
from ._counts import Counts, class_counts
from ._masks import Mask
from ._options import Average, Empty, Reduction, check_options


def _iou(counts: Counts) -> Ratios:
    return Ratios(counts.intersection, counts.union, counts.valid)


def iou_score(
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
    """Return the intersection over union: pixels in both masks / pixels in either, for each class.

    The shapes decide what is compared: binary masks (K = 1 class), a binary mask in each channel (K = C) or, with
    `num_classes`, labels (K = C).

    Empty masks: for a class that neither mask has, IoU is 0/0. "perfect" scores it 1, as the competition does for an
    empty tile; with many classes every absent class then raises the mean. "skip" leaves it out. "present" leaves out
    every class that the truth of an image does not have, whatever is predicted: the score over tiles with salt. With
    the other two a class that exactly one mask has scores 0.

    Args:
        pred_masks: (N, H, W) or (N, 1, H, W), or channels (N, C, H, W): bool or integer, above 0 is salt. With
            `num_classes`: labels (N, H, W). A torch tensor or a numpy array.
        target_masks: truth in the same form.
        average: "micro" takes the ratio of the pixels of all images, for each class; the mean is over classes.
            "per_image" scores each class in each image; the mean is over the classes of an image, then over images.
        class_average: "macro" for the mean over classes; "weighted" for the mean weighted by the pixels that the truth
            has of each class; "micro" for one ratio of the pixels of all classes.
        num_classes: number of classes C, if the masks hold labels 0 to C - 1. Labels out of range are an error on a
            CPU. Elsewhere, and under torch.compile and torch.vmap, the host would have to wait to see them: the score
            of their image and the mean are NaN, and `compute` of the accumulator raises the error.
        classes: classes or channels that are scored, such as [1, 2] for all but the background; None for all.
        ignore_index: value of the truth at pixels that are left out; with channels, from their channel only.
        empty: "perfect", "skip" or "present", see above.
        reduction: "mean", or "none" for the scores before the mean.

    Returns:
        A float32 tensor in 0..1 on the masks' device. A scalar for "mean". For "none", (K,) for "micro" and (N, K) for
        "per_image"; () and (N,) for binary masks, for one class, and for all classes together. A class that is skipped
        or has no valid pixels is NaN. Such classes, and images without other classes, are left out of the mean, which
        is NaN if nothing remains.

    Raises:
        TypeError: if masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: if shapes, devices, labels or options do not fit.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[[1, 1, 1, 0]], [[0, 0, 0, 0]]])
        >>> pred = torch.tensor([[[0, 1, 1, 1]], [[0, 0, 0, 0]]])
        >>> iou_score(pred, truth, average="per_image", reduction="none")
        tensor([0.5000, 1.0000])
        >>> iou_score(pred, truth, average="per_image", empty="skip")
        tensor(0.5000)
        >>> iou_score(pred, truth, num_classes=2, reduction="none")
        tensor([0.6667, 0.5000])
    """
    check_options(average, num_classes, empty, reduction, class_average=class_average, classes=classes)
    counts = class_counts(pred_masks, target_masks, num_classes=num_classes, classes=classes, ignore_index=ignore_index)
    return averaged(
        _iou(counts.scored(empty)),
        average=average,
        class_average=class_average,
        support=counts.target,
        empty=empty,
        reduction=reduction,
    )


class IoUScore(AverageAccumulator):
    """IoU over many batches and processes. Options and means are those of `iou_score`.

    Example:
        >>> import torch
        >>> metric = IoUScore(average="per_image")
        >>> mask = torch.ones(1, 4, 4, dtype=torch.bool)
        >>> metric.update(mask, mask).update(~mask, mask).compute()
        0.5
    """

    def _ratios(self, counts: Counts) -> Ratios:
        return _iou(counts)
