"""Matthews correlation coefficient of two masks. Matthews, 1975, https://doi.org/10.1016/0005-2795(75)90109-9."""

from collections.abc import Sequence

from torch import Tensor

from ._class_mean import ClassAverage
from ._counts import Counts
from ._masks import Mask
from ._options import Average, Empty, Reduction
from ._rates import Joint, RateAccumulator, rate_score


def _matthews(counts: Counts) -> Tensor:
    both, pred, target, valid = counts
    spread = pred * (valid - pred) * target * (valid - target)
    scores = (both * valid - pred * target) / spread.sqrt()
    return scores.masked_fill(scores.isnan() & (pred + target - 2 * both == valid), -1)  # all pixels are wrong


def _of_all_classes(counts: Counts) -> Tensor:
    """Return Gorodkin's R_K."""
    both, pred, target = (part.sum(-1, keepdim=True) for part in (counts.intersection, counts.pred, counts.target))
    total = counts.valid[..., :1]
    chance = (counts.pred * counts.target).sum(-1, keepdim=True)
    spread = (pred**2 - counts.pred.square().sum(-1, keepdim=True)) * (
        target**2 - counts.target.square().sum(-1, keepdim=True)
    )
    return (both * total - chance) / spread.sqrt()


def _joint(class_average: ClassAverage, num_classes: int | None, classes: Sequence[int] | None) -> Joint | None:
    """Return the score of all labels, if it is asked for.

    Raises:
        ValueError: if it is asked for some classes only.
    """
    if class_average != "micro" or num_classes is None:
        return None
    if classes is not None:
        raise ValueError(
            f"classes must be None for class_average='micro' of labels, which correlates all of them, got {classes}: "
            "use class_average='macro'"
        )
    return _of_all_classes


def matthews_score(
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
    """Return the Matthews correlation of each class: 1 for equal masks, 0 for chance, -1 for opposite masks.

    It counts background like salt, yet an empty or full prediction scores 0 on any truth that is neither. Where all
    pixels are wrong it is -1.

    Args:
        pred_masks: binary masks, channels or labels, see `iou_score`.
        target_masks: truth in the same form.
        average: "micro" for the pixels of all images, "per_image" for the mean over images.
        class_average: mean over classes: "macro", "weighted" by the pixels of the truth, or "micro": the pixels of all
            channels; for labels the correlation R_K of all classes (Gorodkin, 2004).
        num_classes: number of classes C, if the masks hold labels 0 to C - 1; others as in `iou_score`.
        classes: classes or channels that are scored; None for all.
        ignore_index: value of the truth at pixels that are left out.
        empty: score of a class that neither mask has: "perfect" is 1, "skip" leaves it out; "present" leaves out every
            class that the truth of an image does not have.
        reduction: "mean", or "none" for the scores before the mean.

    Returns:
        A float32 tensor on the masks' device; its range is -1..1 and its shape that of `iou_score`.

    Raises:
        TypeError: if masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: if shapes, devices, labels or options do not fit.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[[1, 1, 1, 0]]])
        >>> matthews_score(torch.tensor([[[1, 1, 0, 0]]]), truth)
        tensor(0.5774)
    """
    return rate_score(
        _matthews,
        pred_masks,
        target_masks,
        average=average,
        class_average=class_average,
        num_classes=num_classes,
        classes=classes,
        ignore_index=ignore_index,
        empty=empty,
        reduction=reduction,
        joint=_joint(class_average, num_classes, classes),
    )


class MatthewsScore(RateAccumulator):
    """Matthews coefficient over many batches and processes. Options and means are those of `matthews_score`.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[[1, 1, 1, 0]]])
        >>> round(MatthewsScore().update(torch.tensor([[[1, 1, 0, 1]]]), truth).compute(), 4)
        -0.3333
    """

    def __init__(
        self,
        *,
        average: Average = "micro",
        class_average: ClassAverage = "macro",
        num_classes: int | None = None,
        classes: Sequence[int] | None = None,
        ignore_index: int | None = None,
        empty: Empty = "perfect",
    ) -> None:
        self._joint = _joint(class_average, num_classes, classes)
        super().__init__(
            average=average,
            class_average=class_average,
            num_classes=num_classes,
            classes=classes,
            ignore_index=ignore_index,
            empty=empty,
        )

    def _rate(self, counts: Counts) -> Tensor:
        return _matthews(counts)
