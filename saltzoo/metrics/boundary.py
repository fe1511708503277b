"""Distance between the outlines of two masks, in pixels."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, Self, TypeVar, get_args

import torch
from torch import Tensor

from .._checks import check_choice, check_class_subset
from ._accumulator import Accumulator
from ._counts import confusion_counts, nan_if_out_of_range
from ._edges import distances_to, edges, mean_and_quantile
from ._masks import Mask, Masks, read_masks
from ._on_device import OUT_OF_RANGE, as_salt
from ._options import Empty, Reduction, check_num_classes

Number = TypeVar("Number", Tensor, float)

UNIT = 1 << 24
"""A distance of 1 pixel in fixed point, so that sums do not depend on the order of images."""


class BoundaryDistances(NamedTuple, Generic[Number]):
    """Distances between outlines, in pixels; 0 for equal masks.

    Attributes:
        mean: mean distance of the edge pixels of each mask to the edge of the other.
        hausdorff95: distance that 95 % of the edge pixels do not exceed, of the mask for which it is larger.
    """

    mean: Number
    hausdorff95: Number


def boundary_distance(
    pred_masks: Mask,
    target_masks: Mask,
    *,
    num_classes: int | None = None,
    classes: Sequence[int] | None = None,
    ignore_index: int | None = None,
    empty: Empty = "perfect",
    reduction: Reduction = "mean",
) -> BoundaryDistances[Tensor]:
    """Return how far the outlines of two masks are apart: the mean and the 95 % Hausdorff distance, in pixels.

    An edge pixel is one with a neighbour (above, below, left or right) outside the mask, or outside the image. Each has
    an Euclidean distance to the nearest edge pixel of the other mask.

    Empty masks have no edge. Two empty masks are 0 pixels apart. If exactly one is empty, both distances are those of
    opposite corners of the image, the largest that there can be.

    Args:
        pred_masks: binary masks, channels or labels, see `iou_score`.
        target_masks: truth in the same form.
        num_classes: number of classes C, if the masks hold labels 0 to C - 1; others as in `iou_score`.
        classes: classes or channels that are measured, such as [1, 2] for all but the background; None for all.
        ignore_index: value of the truth at ignored pixels, which are like the outside of the image.
        empty: which classes of an image count: "perfect" for all; "skip" leaves out those that neither mask has,
            "present" those that the truth does not have.
        reduction: "mean" over the classes of an image, then over images; or "none".

    Returns:
        mean and hausdorff95, float32 on the masks' device: scalars, or (N, K), (N,) for binary masks. A class without
        valid pixels, or left out by `empty`, is NaN and is left out of the mean.

    Raises:
        TypeError: if masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: if shapes, devices or options do not fit.

    Example:
        >>> truth = torch.tensor([[[1, 1, 0, 0, 0]]])
        >>> boundary_distance(torch.tensor([[[0, 1, 1, 0, 0]]]), truth)  # each outer pixel is 1 away
        BoundaryDistances(mean=tensor(0.5000), hausdorff95=tensor(0.9500))
    """
    _check_options(num_classes, classes, empty, reduction)
    both = _distances(pred_masks, target_masks, num_classes, classes, ignore_index, empty)
    if reduction == "none":
        return BoundaryDistances(*(part.squeeze(-1) for part in both[:2]))
    *distances, seen = both
    return BoundaryDistances(*(nan_if_out_of_range(part.nanmean(1).nanmean(), seen) for part in distances))


class BoundaryDistance(Accumulator):
    """Boundary distances over many batches and processes, see `boundary_distance`.

    Example:
        >>> truth = torch.tensor([[[1, 1, 0, 0, 0]]])
        >>> BoundaryDistance().update(torch.tensor([[[0, 1, 1, 0, 0]]]), truth).update(truth, truth).compute().mean
        0.25
    """

    def __init__(
        self,
        *,
        num_classes: int | None = None,
        classes: Sequence[int] | None = None,
        ignore_index: int | None = None,
        empty: Empty = "perfect",
    ) -> None:
        _check_options(num_classes, classes, empty, "mean")
        self.num_classes = num_classes
        self.classes: tuple[int, ...] | None = None if classes is None else tuple(classes)
        self.ignore_index = ignore_index
        self.empty: Empty = empty
        super().__init__(num_classes=num_classes, classes=self.classes, ignore_index=ignore_index, empty=empty)

    def update(self, pred_masks: Mask, target_masks: Mask) -> Self:
        """Add a batch. Masks and errors are those of `boundary_distance`."""
        *both, seen = _distances(
            pred_masks, target_masks, self.num_classes, self.classes, self.ignore_index, self.empty
        )
        images = torch.stack([part.nanmean(1) for part in both])  # 2 N
        scored = ~images[0].isnan()
        sums = (images.nan_to_num(0) * UNIT).round().long().sum(1)
        return self._add(torch.cat([sums, scored.sum().view(1), seen.sum().view(1)]))

    def compute(self) -> BoundaryDistances[float]:
        """Return the mean distances of all images; NaN if `empty` leaves out all of them.

        Raises:
            ValueError: if there was no valid pixel, or a label was out of range.
        """
        sums = self._sums()
        self._check_seen(sums[3])
        mean, hausdorff95, images, _ = sums.tolist()
        if images == 0:
            return BoundaryDistances(float("nan"), float("nan"))
        return BoundaryDistances(mean / (UNIT * images), hausdorff95 / (UNIT * images))


def _check_options(num_classes: int | None, classes: Sequence[int] | None, empty: Empty, reduction: Reduction) -> None:
    check_choice("empty", empty, get_args(Empty))
    check_choice("reduction", reduction, get_args(Reduction))
    check_num_classes(num_classes)
    check_class_subset(classes, num_classes)


def _distances(
    pred_masks: Mask,
    target_masks: Mask,
    num_classes: int | None,
    classes: Sequence[int] | None,
    ignore_index: int | None,
    empty: Empty,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return both distances of each image and class, NaN where nothing counts, and its valid pixels; (N, K) each.

    In an image with a label out of range distances are NaN and numbers of pixels negative.
    """
    (pred, target, valid), out = _masks(pred_masks, target_masks, num_classes, ignore_index)
    size = pred_masks.shape[-2:]
    valid = torch.ones_like(pred) if valid is None else valid
    check_class_subset(classes, pred.shape[1])
    if classes is not None:
        pred, target, valid = (torch.stack([x[:, c] for c in classes], 1) for x in (pred, target, valid))
    shape = pred.shape[:2]
    a, b = (edges((mask & valid).flatten(0, 1).unflatten(1, size)) for mask in (pred, target))
    ones = [mean_and_quantile(distances_to(y), x, 0.95) for x, y in ((a, b), (b, a))]
    (sum_a, top_a, count_a), (sum_b, top_b, count_b) = ones
    mean, top = (sum_a + sum_b) / (count_a + count_b).clamp(min=1), torch.maximum(top_a, top_b)
    has_a, has_b, counted = count_a > 0, count_b > 0, valid.flatten(0, 1).any(1)
    if empty == "skip":
        counted = counted & (has_a | has_b)
    elif empty == "present":
        counted = counted & has_b
    corners = ((size[0] - 1) ** 2 + (size[1] - 1) ** 2) ** 0.5
    both = (x.masked_fill(~(has_a & has_b), 0).masked_fill(has_a ^ has_b, corners) for x in (mean, top))
    mean, top = (x.masked_fill(~counted, torch.nan).unflatten(0, shape) for x in both)
    seen = valid.sum(-1)
    if out is not None:
        mean, top = (x.masked_fill(out[:, None], torch.nan) for x in (mean, top))
        seen = seen.masked_fill(out[:, None], OUT_OF_RANGE)
    return mean, top, seen


def _masks(
    pred_masks: Mask, target_masks: Mask, num_classes: int | None, ignore_index: int | None
) -> tuple[Masks, Tensor | None]:
    """Return one bool mask a class, (N, K, P), and for labels which images have one out of range, (N,)."""
    if num_classes is None:
        given = read_masks(pred_masks, target_masks, form="channels", ignore_index=ignore_index)
        return Masks(as_salt(given.pred), as_salt(given.target), given.valid), None
    labels = read_masks(pred_masks, target_masks, form="labels", ignore_index=ignore_index)
    out = confusion_counts(labels, num_classes)[:, 0, 0] < 0  # N
    pred, target = (torch.cat([mask.long() == c for c in range(num_classes)], 1) for mask in labels[:2])
    return Masks(pred, target, None if labels.valid is None else labels.valid.expand(pred.shape)), out
