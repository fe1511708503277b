"""Score of the TGS Salt Identification Challenge: mean precision over ten IoU thresholds."""

from typing import Self, get_args

import torch
from torch import Tensor

from .._checks import check_choice
from ._accumulator import Accumulator
from ._counts import mask_counts
from ._masks import Mask, read_masks
from ._options import Empty, Reduction


def tenths(intersection: Tensor, union: Tensor) -> Tensor:
    """Return scores in tenths: the number of thresholds, out of ten, that each IoU exceeds. int64."""
    # The number of k = 0, 1, ..., 9 with 20 IoU > 10 + k is 20 IoU, rounded up, minus 10. Integer division rounds up
    # exactly, so an IoU that equals a threshold does not exceed it.
    rounded_up = (20 * intersection + union - 1) // union.clamp(min=1)
    return (rounded_up - 10).clamp(0, 10).masked_fill(union == 0, 10)


def _scores(
    pred_masks: Mask, target_masks: Mask, ignore_index: int | None, empty: Empty
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each image's score in tenths; its maximum, 10, or 0 if it does not count; and its valid pixels."""
    masks = read_masks(pred_masks, target_masks, form="binary", ignore_index=ignore_index)
    counts = mask_counts(masks)
    counted = {"perfect": counts.valid, "skip": counts.union, "present": counts.target}[empty]
    possible = (counted > 0) * 10
    scores = torch.minimum(tenths(counts.intersection, counts.union), possible)
    return scores[:, 0], possible[:, 0], counts.valid[:, 0]


def salt_map(
    pred_masks: Mask,
    target_masks: Mask,
    *,
    ignore_index: int | None = None,
    empty: Empty = "perfect",
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the competition's score: the mean over t = .50, .55, ..., .95 of [IoU > t], averaged over images.

    The comparison is strict and exact, in integers. An image whose masks are both empty scores 1, and 0 if exactly one
    is. The competition, https://www.kaggle.com/c/tgs-salt-identification-challenge, has masks of 101 x 101 pixels; any
    size works here.

    Args:
        pred_masks: (N, H, W) or (N, 1, H, W), bool or integer, above 0 is salt; a torch tensor or a numpy
            array.
        target_masks: truth in the same form.
        ignore_index: value of the truth at pixels that are left out.
        empty: which images count: "perfect" for all, as in the competition; "skip" leaves out those whose masks are
            both empty; "present" leaves out those whose truth is empty, for the score over tiles with salt.
        reduction: "mean", or "none" for one score an image.

    Returns:
        A float32 tensor in 0..1 on the masks' device: a scalar, or (N,). An image without valid pixels, or
        left out by `empty`, is NaN and is left out of the mean, which is NaN if no image remains.

    Raises:
        TypeError: if masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: if shapes, devices or an option do not fit.

    Example:
        >>> truth = torch.tensor([[[1, 1, 1, 1, 1]], [[0, 0, 0, 0, 0]]])
        >>> salt_map(torch.tensor([[[1, 1, 1, 0, 0]], [[0, 0, 0, 0, 0]]]), truth, reduction="none")
        tensor([0.2000, 1.0000])
    """
    check_choice("reduction", reduction, get_args(Reduction))
    check_choice("empty", empty, get_args(Empty))
    scores, possible, _ = _scores(pred_masks, target_masks, ignore_index, empty)
    if reduction == "none":
        return scores / possible  # 0/0 is NaN
    return scores.sum() / possible.sum()


class SaltMAP(Accumulator):
    """Competition's score over many batches and processes, see `salt_map`.

    Sums are integers on the device of the first update, so the order of batches and processes does not matter. Only
    `compute` waits for the device.

    Example:
        >>> metric = SaltMAP()
        >>> mask = torch.ones(2, 4, 4, dtype=torch.bool)
        >>> metric.update(mask, mask).update(~mask, mask).compute()
        0.5
    """

    def __init__(self, *, ignore_index: int | None = None, empty: Empty = "perfect") -> None:
        check_choice("empty", empty, get_args(Empty))
        super().__init__(ignore_index=ignore_index, empty=empty)
        self.ignore_index = ignore_index
        self.empty: Empty = empty

    def update(self, pred_masks: Mask, target_masks: Mask) -> Self:
        """Add a batch. Masks and errors are those of `salt_map`."""
        return self._add(torch.stack(_scores(pred_masks, target_masks, self.ignore_index, self.empty)).sum(1))

    def compute(self) -> float:
        """Return the mean score of all images, 0 to 1; NaN if `empty` leaves out all of them.

        Raises:
            ValueError: if there was no valid pixel.
        """
        scores, possible, valid = self._sums().tolist()
        if valid == 0:
            raise self._nothing_seen()
        return float(scores / possible) if possible else float("nan")
