"""F-beta score: precision and recall in one number. Dice is that of beta 1."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from .._checks import check_finite
from ._class_mean import ClassAverage
from ._counts import Counts
from ._masks import Mask
from ._options import Average, Empty, Reduction
from ._rates import RateAccumulator, rate_score


def _fbeta(counts: Counts, beta: float) -> Tensor:
    square = beta * beta
    return (1 + square) * counts.intersection / (square * counts.target + counts.pred)


def _check_beta(beta: float) -> None:
    check_finite(beta=beta)
    if beta <= 0:
        raise ValueError(f"beta must be above 0, got {beta}: use precision_score for 0")


def fbeta_score(
    pred_masks: Mask,
    target_masks: Mask,
    *,
    beta: float,
    average: Average = "micro",
    class_average: ClassAverage = "macro",
    num_classes: int | None = None,
    classes: Sequence[int] | None = None,
    ignore_index: int | None = None,
    empty: Empty = "perfect",
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the F-beta score: the harmonic mean of precision and recall, recall weighted beta^2 times.

    With I pixels in both masks, P in the prediction and T in the truth it is (1 + beta^2) I / (beta^2 T + P). A beta
    above 1 counts misses more than false alarms; beta 1 is `dice_score`.

    Args:
        pred_masks: binary masks, channels or labels, see `iou_score`.
        target_masks: truth in the same form.
        beta: weight of recall, above 0.
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
        >>> fbeta_score(torch.tensor([[[1, 0, 0, 1]]]), truth, beta=2.0)
        tensor(0.3571)
    """
    _check_beta(beta)
    return rate_score(
        partial(_fbeta, beta=beta),
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


class FBetaScore(RateAccumulator):
    """F-beta score over many batches and processes. Options and means are those of `fbeta_score`.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[[1, 1, 1, 0]]])
        >>> round(FBetaScore(beta=2.0).update(torch.tensor([[[1, 1, 0, 1]]]), truth).compute(), 4)
        0.6667
    """

    def __init__(
        self,
        *,
        beta: float,
        average: Average = "micro",
        class_average: ClassAverage = "macro",
        num_classes: int | None = None,
        classes: Sequence[int] | None = None,
        ignore_index: int | None = None,
        empty: Empty = "perfect",
    ) -> None:
        _check_beta(beta)
        super().__init__(
            average=average,
            class_average=class_average,
            num_classes=num_classes,
            classes=classes,
            ignore_index=ignore_index,
            empty=empty,
        )
        self.beta: float = beta
        self._options["beta"] = beta

    def _rate(self, counts: Counts) -> Tensor:
        return _fbeta(counts, self.beta)
