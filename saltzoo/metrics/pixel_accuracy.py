"""Share of pixels that are predicted correctly."""

from collections.abc import Sequence

from torch import Tensor

from ._average import AverageAccumulator, Ratios, averaged
from ._counts import Counts, class_counts
from ._masks import Mask
from ._options import Average, Reduction, check_options


def _accuracy(counts: Counts, *, labels: bool) -> Ratios:
    if labels:  # a pixel has one label, so all classes share one score
        right, pixels = (part.sum(1, keepdim=True) for part in (counts.intersection, counts.target))
        return Ratios(right, pixels, counts.valid[:, :1])
    wrong = counts.pred + counts.target - 2 * counts.intersection
    return Ratios(counts.valid - wrong, counts.valid, counts.valid)


def pixel_accuracy(
    pred_masks: Mask,
    target_masks: Mask,
    *,
    average: Average = "micro",
    num_classes: int | None = None,
    classes: Sequence[int] | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the pixel accuracy: valid pixels where both masks agree / valid pixels.

    Background counts like salt, so an empty prediction scores well on tiles with little salt; see `iou_score`. Channels
    are scored one by one, labels all together.

    Args:
        pred_masks: (N, H, W) or (N, 1, H, W), or channels (N, C, H, W): bool or integer, above 0 is salt. With
            `num_classes`: labels (N, H, W). A torch tensor or a numpy array.
        target_masks: truth in the same form.
        average: "micro" for the accuracy over the pixels of all images, "per_image" for the mean over images. They
            differ only if pixels are ignored.
        num_classes: number of classes C, if the masks hold labels 0 to C - 1; others as in `iou_score`.
        classes: channels that are scored; or labels, whose pixels are those where the truth is one of them; None for
            all.
        ignore_index: value of the truth at pixels that are left out.
        reduction: "mean", or "none" for the scores before the mean.

    Returns:
        A float32 tensor in 0..1 on the masks' device. A scalar for "mean". For "none", () for "micro" and (N,) for
        "per_image"; with channels (K,) and (N, K). A score without valid pixels is NaN and is left out of the mean.

    Raises:
        TypeError: if masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: if shapes, devices, labels or options do not fit.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[[0, 2, 1, 255]]])
        >>> pixel_accuracy(torch.tensor([[[0, 2, 2, 2]]]), truth, num_classes=3, ignore_index=255)
        tensor(0.6667)
    """
    check_options(average, num_classes, reduction=reduction, classes=classes)
    counts = class_counts(pred_masks, target_masks, num_classes=num_classes, classes=classes, ignore_index=ignore_index)
    ratios = _accuracy(counts, labels=num_classes is not None)
    return averaged(ratios, average=average, empty="skip", reduction=reduction)


class PixelAccuracy(AverageAccumulator):
    """Pixel accuracy over many batches and processes. Options are those of `pixel_accuracy`.

    Example:
        >>> import torch
        >>> pred, truth = torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[1, 1, 1, 0]]])
        >>> PixelAccuracy().update(pred, truth).compute()
        0.5
    """

    def __init__(
        self,
        *,
        average: Average = "micro",
        num_classes: int | None = None,
        classes: Sequence[int] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(
            average=average, num_classes=num_classes, classes=classes, ignore_index=ignore_index, empty="skip"
        )

    def _ratios(self, counts: Counts) -> Ratios:
        return _accuracy(counts, labels=self.num_classes is not None)
