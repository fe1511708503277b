"""Confusion matrix of labels, and the scores that are read from it."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from ._accumulator import Accumulator
from ._average import check_options
from ._counts import confusion_counts
from ._masks import Mask, read_masks


@dataclass(frozen=True, eq=False)
class ConfusionScores:
    """A confusion matrix and its scores.

    Args:
        matrix: (C, C) int64, on the host: pixels of each truth (row) with each prediction (column).
        iou: (C,) float64: pixels that both have of a class / pixels that either has; NaN where neither has any.
        mean_iou: mean of `iou` over the classes that truth or prediction has.
        frequency_weighted_iou: sum of `iou` times the class's share of the truth.
        pixel_accuracy: share of pixels on the diagonal.
    """

    matrix: Tensor
    iou: Tensor
    mean_iou: float
    frequency_weighted_iou: float
    pixel_accuracy: float


def confusion_scores(matrix: Tensor) -> ConfusionScores:
    """Scores of a confusion matrix, such as `confusion_matrix` gives; waits for its device.

    Args:
        matrix: (C, C), integers; rows are the truth.

    Raises:
        TypeError: not a tensor.
        ValueError: not a square matrix of counts, or without any pixel.

    Example:
        >>> import torch
        >>> scores = confusion_scores(torch.tensor([[6, 2, 0], [0, 2, 0], [0, 0, 0]]))  # no pixel of class 2
        >>> scores.iou
        tensor([0.7500, 0.5000,    nan], dtype=torch.float64)
        >>> scores.mean_iou, scores.pixel_accuracy, scores.frequency_weighted_iou
        (0.625, 0.8, 0.7)
    """
    if not isinstance(matrix, Tensor):
        raise TypeError(f"a confusion matrix is a tensor, not a {type(matrix).__name__}: as in torch.from_numpy(...).")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a confusion matrix is square, (C, C); this one is {tuple(matrix.shape)}.")
    matrix = matrix.cpu()
    counts = matrix.double()
    total = counts.sum()
    if not (counts >= 0).all():
        raise ValueError("a confusion matrix holds counts, 0 or more; this one has others, or NaN.")
    if total == 0:
        raise ValueError("the confusion matrix has no pixel in it. Count masks that have valid pixels first.")
    right, truth = counts.diagonal(), counts.sum(1)
    iou = right / (truth + counts.sum(0) - right)  # 0/0 is NaN
    return ConfusionScores(
        matrix=matrix,
        iou=iou,
        mean_iou=float(iou.nanmean()),
        frequency_weighted_iou=float((truth * iou).nansum() / total),
        pixel_accuracy=float(right.sum() / total),
    )


def confusion_matrix(
    pred_masks: Mask, target_masks: Mask, *, num_classes: int, ignore_index: int | None = None
) -> Tensor:
    """How many pixels of each truth have each prediction.

    Args:
        pred_masks: labels (N, H, W), 0 to C - 1, bool or integer; a torch tensor or a numpy array.
        target_masks: the same for the truth.
        num_classes: C. Labels in other range are refused on a CPU; on other devices they are not looked at,
            which would take a wait, and must be right.
        ignore_index: pixels whose truth has this value count nowhere.

    Returns:
        (C, C) int64 on the masks' device; rows are the truth, columns the prediction. `confusion_scores` reads
        IoU and accuracy from it.

    Raises:
        TypeError: masks are not bool or integer (take the label first), or neither tensor nor array.
        ValueError: shapes, devices, labels or options do not fit.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[[0, 1, 1, 255]]])
        >>> confusion_matrix(torch.tensor([[[0, 0, 1, 1]]]), truth, num_classes=2, ignore_index=255)
        tensor([[1, 0],
                [1, 1]])
    """
    check_options("micro", num_classes)
    labels = read_masks(pred_masks, target_masks, form="labels", ignore_index=ignore_index)
    return confusion_counts(labels, num_classes).sum(0)


class ConfusionMatrix(Accumulator):
    """Confusion matrix over many batches and processes; see `confusion_matrix`.

    Example:
        >>> import torch
        >>> metric = ConfusionMatrix(num_classes=3, ignore_index=255)
        >>> truth = torch.tensor([[[0, 1, 2, 255]]])
        >>> metric.update(torch.tensor([[[0, 1, 1, 1]]]), truth).compute().iou
        tensor([1.0000, 0.5000, 0.0000], dtype=torch.float64)
    """

    def __init__(self, *, num_classes: int, ignore_index: int | None = None) -> None:
        check_options("micro", num_classes)
        super().__init__(num_classes=num_classes, ignore_index=ignore_index)
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def update(self, pred_masks: Mask, target_masks: Mask) -> Self:
        """Add a batch; takes what `confusion_matrix` takes, and raises what it raises."""
        matrix = confusion_matrix(
            pred_masks, target_masks, num_classes=self.num_classes, ignore_index=self.ignore_index
        )
        return self._add(matrix.flatten())

    def compute(self) -> ConfusionScores:
        """The matrix of all pixels seen, and its scores.

        Raises:
            ValueError: no valid pixel was seen.
        """
        matrix = self._sums().view(self.num_classes, self.num_classes)
        if not matrix.any():
            raise self._nothing_seen()
        return confusion_scores(matrix)
