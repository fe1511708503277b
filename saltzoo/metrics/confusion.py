"""Confusion matrix of labels, and the scores computed from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from .._checks import check_class_subset
from ._accumulator import Accumulator
from ._counts import confusion_counts
from ._masks import Mask, read_masks
from ._options import check_num_classes


@dataclass(frozen=True, eq=False)
class ConfusionScores:
    """A confusion matrix and its scores.

    Attributes:
        matrix: numbers of pixels of each truth (row) and prediction (column), (C, C) int64 on the host.
        iou: intersection over union of each class, (C,) float64; NaN for a class that is in neither mask.
        mean_iou: mean of `iou` over the classes, all or those chosen, that are in the truth or the prediction.
        frequency_weighted_iou: mean of `iou` weighted by the class's pixels in the truth, over the same classes.
        pixel_accuracy: share of pixels on the diagonal.
    """

    matrix: Tensor
    iou: Tensor
    mean_iou: float
    frequency_weighted_iou: float
    pixel_accuracy: float


def confusion_scores(matrix: Tensor, *, classes: Sequence[int] | None = None) -> ConfusionScores:
    """Return the scores of a confusion matrix, such as that of `confusion_matrix`. Waits for its device.

    Args:
        matrix: (C, C), integers; rows are the truth.
        classes: classes that the means are over, such as [1, 2] for all but the background; None for all.

    Raises:
        TypeError: if it is not a tensor, or `classes` is not a list.
        ValueError: if it is not a square matrix of counts, or holds no pixel; if there is no class of that number.

    Example:
        >>> import torch
        >>> scores = confusion_scores(torch.tensor([[6, 2, 0], [0, 2, 0], [0, 0, 0]]))  # no pixel of class 2
        >>> scores.iou
        tensor([0.7500, 0.5000,    nan], dtype=torch.float64)
        >>> scores.mean_iou, scores.pixel_accuracy, scores.frequency_weighted_iou
        (0.625, 0.8, 0.7)
    """
    if not isinstance(matrix, Tensor):
        raise TypeError(
            f"a confusion matrix must be a tensor, got a {type(matrix).__name__}: use torch.from_numpy(...)"
        )
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a confusion matrix must be square, (C, C), got {tuple(matrix.shape)}")
    matrix = matrix.cpu()
    counts = matrix.double()
    total = counts.sum()
    if not (counts >= 0).all():
        raise ValueError(
            "a confusion matrix must hold counts, 0 or more, got negative numbers or NaN: `confusion_matrix` gives "
            "them on a GPU for labels that are not 0 to num_classes - 1"
        )
    if total == 0:
        raise ValueError(
            "a confusion matrix must hold at least one pixel, got none: count masks with valid pixels first"
        )
    right, truth = counts.diagonal(), counts.sum(1)
    iou = right / (truth + counts.sum(0) - right)  # 0/0 is NaN
    check_class_subset(classes, len(matrix))
    counted = list(range(len(matrix)) if classes is None else classes)
    return ConfusionScores(
        matrix=matrix,
        iou=iou,
        mean_iou=float(iou[counted].nanmean()),
        frequency_weighted_iou=float((truth * iou)[counted].nansum() / truth[counted].sum()),
        pixel_accuracy=float(right.sum() / total),
    )


def confusion_matrix(
    pred_masks: Mask, target_masks: Mask, *, num_classes: int, ignore_index: int | None = None
) -> Tensor:
    """Count the pixels of each pair of truth and prediction.

    Args:
        pred_masks: labels (N, H, W), 0 to C - 1, bool or integer; a torch tensor or a numpy array.
        target_masks: truth in the same form.
        num_classes: number of classes C. Labels out of range are an error on a CPU. Elsewhere, and under torch.compile
            and torch.vmap, the host would have to wait to see them: all counts are negative, and `confusion_scores`
            and `ConfusionMatrix.compute` raise the error.
        ignore_index: value of the truth at pixels that are left out.

    Returns:
        (C, C) int64 on the masks' device; rows are the truth, columns the prediction. `confusion_scores` computes IoU
        and accuracy from it.

    Raises:
        TypeError: if masks are not bool or integer (take the label first), or neither tensor nor array.
        ValueError: if shapes, devices, labels or options do not fit.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[[0, 1, 1, 255]]])
        >>> confusion_matrix(torch.tensor([[[0, 0, 1, 1]]]), truth, num_classes=2, ignore_index=255)
        tensor([[1, 0],
                [1, 1]])
    """
    check_num_classes(num_classes)
    labels = read_masks(pred_masks, target_masks, form="labels", ignore_index=ignore_index)
    return confusion_counts(labels, num_classes).sum(0)


class ConfusionMatrix(Accumulator):
    """Confusion matrix over many batches and processes; see `confusion_matrix`. The scores' means are over `classes`.

    Example:
        >>> import torch
        >>> metric = ConfusionMatrix(num_classes=3, ignore_index=255)
        >>> truth = torch.tensor([[[0, 1, 2, 255]]])
        >>> metric.update(torch.tensor([[[0, 1, 1, 1]]]), truth).compute().iou
        tensor([1.0000, 0.5000, 0.0000], dtype=torch.float64)
    """

    def __init__(
        self, *, num_classes: int, classes: Sequence[int] | None = None, ignore_index: int | None = None
    ) -> None:
        check_num_classes(num_classes)
        check_class_subset(classes, num_classes)
        self.classes: tuple[int, ...] | None = None if classes is None else tuple(classes)
        super().__init__(num_classes=num_classes, classes=self.classes, ignore_index=ignore_index)
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def update(self, pred_masks: Mask, target_masks: Mask) -> Self:
        """Add a batch. Masks and errors are those of `confusion_matrix`."""
        matrix = confusion_matrix(
            pred_masks, target_masks, num_classes=self.num_classes, ignore_index=self.ignore_index
        )
        return self._add(matrix.flatten())

    def compute(self) -> ConfusionScores:
        """Return the matrix of all pixels and its scores.

        Raises:
            ValueError: if there was no valid pixel, or a label was out of range.
        """
        matrix = self._sums().view(self.num_classes, self.num_classes)
        self._check_seen(matrix)
        return confusion_scores(matrix, classes=self.classes)
