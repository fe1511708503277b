"""Accuracy of telling empty tiles from those with salt."""

from typing import Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from ._accumulator import Accumulator
from ._counts import mask_counts
from ._masks import Mask, read_masks

Number = TypeVar("Number", Tensor, float)


class EmptyShares(NamedTuple, Generic[Number]):
    """Shares of images that are correctly predicted as empty or not empty; NaN if there is no such image.

    Attributes:
        accuracy: share of all images.
        empty: share of the images whose truth is empty.
        nonempty: share of the images whose truth has salt.
    """

    accuracy: Number
    empty: Number
    nonempty: Number


def _sums(pred_masks: Mask, target_masks: Mask, ignore_index: int | None) -> Tensor:
    """Count images with an empty truth, correct and all, and with a non-empty one, correct and all; (4,)."""
    counts = mask_counts(read_masks(pred_masks, target_masks, form="binary", ignore_index=ignore_index))
    right = (counts.pred > 0) == (counts.target > 0)
    empty, nonempty = (counts.target == 0) & (counts.valid > 0), counts.target > 0
    return torch.stack([(right & empty).sum(), empty.sum(), (right & nonempty).sum(), nonempty.sum()])


def _shares(sums: Tensor) -> Tensor:
    """Return the shares in the order of EmptyShares, (3,)."""
    right_empty, empty, right_nonempty, nonempty = sums
    right = torch.stack([right_empty + right_nonempty, right_empty, right_nonempty])
    return right / torch.stack([empty + nonempty, empty, nonempty])  # 0/0 is NaN


def empty_accuracy(pred_masks: Mask, target_masks: Mask, *, ignore_index: int | None = None) -> EmptyShares[Tensor]:
    """Return the share of images whose prediction is empty exactly if the truth is.

    In the competition's score an image with exactly one empty mask scores 0, and 39 % of the tiles are empty, so this
    accuracy decides much of the score.

    Args:
        pred_masks: (N, H, W) or (N, 1, H, W), bool or integer, above 0 is salt; a torch tensor or a numpy
            array.
        target_masks: truth in the same form.
        ignore_index: value of the truth at pixels that are left out. An image without other pixels does not count.

    Returns:
        accuracy, empty, nonempty: float32 scalars in 0..1 on the masks' device.

    Raises:
        TypeError: if masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: if shapes, devices or `ignore_index` do not fit.

    Example:
        >>> truth = torch.tensor([[[1, 1]], [[0, 0]], [[0, 0]]])
        >>> pred = torch.tensor([[[0, 1]], [[0, 1]], [[0, 0]]])
        >>> empty_accuracy(pred, truth)
        EmptyShares(accuracy=tensor(0.6667), empty=tensor(0.5000), nonempty=tensor(1.))
    """
    return EmptyShares(*_shares(_sums(pred_masks, target_masks, ignore_index)).unbind())


class EmptyAccuracy(Accumulator):
    """Accuracy of empty predictions over many batches and processes, see `empty_accuracy`.

    Example:
        >>> truth = torch.tensor([[[1, 1]], [[0, 0]]])
        >>> EmptyAccuracy().update(truth, truth).compute()
        EmptyShares(accuracy=1.0, empty=1.0, nonempty=1.0)
    """

    def __init__(self, *, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        self.ignore_index = ignore_index

    def update(self, pred_masks: Mask, target_masks: Mask) -> Self:
        """Add a batch. Masks and errors are those of `empty_accuracy`."""
        return self._add(_sums(pred_masks, target_masks, self.ignore_index))

    def compute(self) -> EmptyShares[float]:
        """Return the shares over all images.

        Raises:
            ValueError: if there was no valid pixel.
        """
        sums = self._sums()
        if not sums.any():
            raise self._nothing_seen()
        return EmptyShares(*_shares(sums.double()).tolist())
