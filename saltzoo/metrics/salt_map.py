"""The score of the TGS Salt Identification Challenge: mean precision over ten IoU thresholds."""

from typing import Self

import torch
from torch import Tensor

from .._checks import check_choice
from ._accumulator import Accumulator
from ._average import Reduction, check_images
from ._counts import mask_counts
from ._masks import Mask, read_masks


def tenths(intersection: Tensor, union: Tensor) -> Tensor:
    """Scores in tenths, int64 of the counts' shape: how many of the ten thresholds an IoU is above."""
    # 20 IoU > 10 + k holds for as many k = 0, 1, ..., 9 as 20 IoU, rounded up, is above 10. Integers round up
    # exactly, so an IoU that lies on a threshold does not pass it.
    rounded_up = (20 * intersection + union - 1) // union.clamp(min=1)
    return (rounded_up - 10).clamp(0, 10).masked_fill(union == 0, 10)


def _scores(pred_masks: Mask, target_masks: Mask, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Of each image the score in tenths, and how many tenths it could have: 10, or 0 without valid pixels."""
    masks = read_masks(pred_masks, target_masks, form="binary", ignore_index=ignore_index)
    counts = mask_counts(masks)
    possible = (counts.valid > 0) * 10
    return torch.minimum(tenths(counts.intersection, counts.union), possible)[:, 0], possible[:, 0]


def salt_map(
    pred_masks: Mask, target_masks: Mask, *, ignore_index: int | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Competition score: mean over t = .50, .55, ..., .95 of [IoU > t], strictly, averaged over images.

    An image where both masks are empty scores 1, one where exactly one is empty 0. The count is exact, in
    integers. The competition, https://www.kaggle.com/c/tgs-salt-identification-challenge, scores masks of
    101 x 101 pixels; any size is taken.

    Args:
        pred_masks: (N, H, W) or (N, 1, H, W), bool or integer, above 0 is salt; a torch tensor or a numpy
            array.
        target_masks: the same for the truth.
        ignore_index: pixels whose truth has this value count nowhere.
        reduction: "mean", or "none": a score an image.

    Returns:
        A float32 tensor in 0..1 on the masks' device: a scalar, or (N,). An image without any valid pixel is
        NaN, and left out of the mean, which is NaN if all are.

    Raises:
        TypeError: masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: shapes, devices, `ignore_index` or `reduction` do not fit, or a mean is asked of no image.

    Example:
        >>> truth = torch.tensor([[[1, 1, 1, 1, 1]], [[0, 0, 0, 0, 0]]])
        >>> salt_map(torch.tensor([[[1, 1, 1, 0, 0]], [[0, 0, 0, 0, 0]]]), truth, reduction="none")
        tensor([0.2000, 1.0000])
    """
    check_choice("reduction", reduction, ("mean", "none"))
    scores, possible = _scores(pred_masks, target_masks, ignore_index)
    if reduction == "none":
        return scores / possible  # 0/0 is NaN
    check_images(len(scores), reduction)
    return scores.sum() / possible.sum()


class SaltMAP(Accumulator):
    """Competition score over many batches and processes; see `salt_map`.

    Sums are integers on the device of the first update: the order of batches and processes changes no digit,
    and only `compute` waits for the device.

    Example:
        >>> metric = SaltMAP()
        >>> mask = torch.ones(2, 4, 4, dtype=torch.bool)
        >>> metric.update(mask, mask).update(~mask, mask).compute()
        0.5
    """

    def __init__(self, *, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        self.ignore_index = ignore_index

    def update(self, pred_masks: Mask, target_masks: Mask) -> Self:
        """Add a batch; takes what `salt_map` takes, and raises what it raises."""
        return self._add(torch.stack(_scores(pred_masks, target_masks, self.ignore_index)).sum(1))

    def compute(self) -> float:
        """Mean score of all images seen, in 0..1.

        Raises:
            ValueError: no valid pixel was seen.
        """
        scores, possible = self._sums().tolist()
        if possible == 0:
            raise self._nothing_seen()
        return float(scores / possible)
