"""Search for the threshold and the minimal area that give the best masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from .._checks import check_choice
from .._torch import rounding
from ._accumulator import Accumulator
from ._average import ONE, fixed_point
from ._counts import histogram, in_parts, on_cpu
from ._grid import area_grid, best_of, finer_grid, merged, threshold_grid
from ._masks import Mask, read_probabilities
from ._on_device import OUT_OF_RANGE, as_salt
from .salt_map import tenths

Metric = Literal["salt_map", "iou", "dice"]


def _iou(intersection: Tensor, union: Tensor) -> Tensor:
    return fixed_point(intersection, union).masked_fill(union == 0, ONE)


def _dice(intersection: Tensor, union: Tensor) -> Tensor:
    return fixed_point(2 * intersection, union + intersection).masked_fill(union == 0, ONE)


# Function from intersection and union to a score in whole units, and the number of units of a score of 1.
_SCORES: dict[Metric, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    "salt_map": (tenths, 10),
    "iou": (_iou, ONE),
    "dice": (_dice, ONE),
}


@dataclass(frozen=True, eq=False)
class BestThreshold:
    """Result of a search.

    Attributes:
        threshold: best threshold; salt is where a probability is above it.
        min_area: best minimal area; masks of fewer pixels are emptied.
        score: score of the two.
        thresholds: all T thresholds tried, increasing.
        min_areas: all A areas tried, increasing.
        scores: score of each pair, (T, A) float64 on the host.
    """

    threshold: float
    min_area: int
    score: float
    thresholds: tuple[float, ...] = field(repr=False)
    min_areas: tuple[int, ...] = field(repr=False)
    scores: Tensor = field(repr=False)


class ThresholdSearch(Accumulator):
    """Threshold search over many batches and processes. Options are those of `search_threshold` without `refine`.

    Example:
        >>> search = ThresholdSearch(thresholds=[0.3, 0.4, 0.5])
        >>> truth = torch.tensor([[[0, 1]]])
        >>> search.update(torch.tensor([[[0.35, 0.45]]]), truth).update(torch.zeros(1, 1, 2), truth * 0).compute()
        BestThreshold(threshold=0.4, min_area=0, score=1.0)
    """

    def __init__(
        self,
        *,
        thresholds: int | Sequence[float] = 101,
        min_areas: Sequence[int] = (0,),
        metric: Metric = "salt_map",
        ignore_index: int | None = None,
    ) -> None:
        check_choice("metric", metric, get_args(Metric))
        self.thresholds: tuple[float, ...] = threshold_grid(thresholds)
        self.min_areas: tuple[int, ...] = area_grid(min_areas)
        self.metric: Metric = metric
        self.ignore_index = ignore_index
        super().__init__(thresholds=self.thresholds, min_areas=self.min_areas, metric=metric, ignore_index=ignore_index)

    def update(self, probabilities: Mask, target_masks: Mask) -> Self:
        """Add a batch. Inputs and errors are those of `search_threshold`."""
        given = read_probabilities(probabilities, target_masks, ignore_index=self.ignore_index)
        rows = (None if x is None else x.squeeze(1) for x in given)  # N P
        return self._add(in_parts(self._scored, *rows).sum(0))

    def compute(self) -> BestThreshold:
        """Return the best threshold and area for all images.

        Raises:
            ValueError: if there was no valid pixel.
        """
        sums = self._sums()
        images = sums[0]
        if images < 0:
            raise _beyond("others")
        if images == 0:
            raise self._nothing_seen()
        totals = sums[1:].view(len(self.min_areas), -1).T  # T A
        row, column = best_of(totals)
        scores = totals.double() / (_SCORES[self.metric][1] * images)
        best = self.thresholds[row], self.min_areas[column], float(scores[row, column])
        return BestThreshold(*best, self.thresholds, self.min_areas, scores)

    def _scored(self, p: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """Count valid images and sum their scores at each area and threshold; (1, 1 + A T).

        The count is negative if probabilities are out of range where values cannot be read.
        """
        if valid is not None:
            p = p.masked_fill(~valid, 0)
        out = _check_probabilities(p)
        score, one = _SCORES[self.metric]
        pred, both, truth, counted = self._counts(p, target, valid)
        scores = score(both, pred + truth - both).where(counted, 0)  # N T
        emptied = ((truth == 0) & counted) * one  # N 1, the score of an image whose mask is emptied
        sums = [torch.where(pred < area, emptied, scores).sum(0) for area in self.min_areas]
        images = counted.long() if out is None else counted.long().masked_fill(out, OUT_OF_RANGE)
        return torch.cat([images.sum(0), *sums])[None]

    def _counts(self, p: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Count pixels above each threshold and salt among them, (N, T); all salt, and if the image counts, (N, 1)."""
        given, p = p.dtype, p.to(torch.promote_types(p.dtype, torch.float32))
        kind = as_salt(target).long()
        if valid is not None:
            kind = kind.masked_fill(~valid, 2)
        # Rounded to the precision of the probabilities, as `p > threshold` rounds it. Non-blocking, so that the host
        # does not wait for the copy.
        grid = torch.tensor(self.thresholds, dtype=given).to(p.dtype).to(p.device, non_blocking=True)
        bins = len(self.thresholds) + 1
        # A pixel's bin is the number of thresholds below its probability, so each pixel is read once.
        index = torch.bucketize(p, grid).add(kind, alpha=bins)
        pixels = histogram(index, 3 * bins).unflatten(1, (3, bins))  # N 3 T+1: background, salt, ignored
        above = pixels[:, :2].flip(-1).cumsum(-1).flip(-1)
        pred, both = above.sum(1)[:, 1:], above[:, 1, 1:]
        return pred, both, above[:, 1, :1], above[:, :, 0].sum(1, keepdim=True) > 0


def search_threshold(
    probabilities: Mask,
    target_masks: Mask,
    *,
    thresholds: int | Sequence[float] = 101,
    min_areas: Sequence[int] = (0,),
    metric: Metric = "salt_map",
    ignore_index: int | None = None,
    refine: int = 0,
) -> BestThreshold:
    """Return the threshold and the minimal area whose masks score best. One pass over the pixels tries all pairs.

    Salt is where p > t, strictly. A mask of fewer pixels than the minimal area is emptied.

    Among equal scores the smallest area wins, because it changes the masks least, and then the middle of the longest
    run of thresholds, because it is farthest from a worse one. The best score is biased upwards on the masks of the
    search; measure it on others.

    Args:
        probabilities: (N, H, W) or (N, 1, H, W), floating point in 0..1, a torch tensor or a numpy array. Other values
            are an error on a CPU; elsewhere `compute` raises it, because `update` would have to wait.
        target_masks: truth, (N, H, W) or (N, 1, H, W), bool or integer, above 0 is salt.
        thresholds: number of thresholds, spread evenly over 0 to 1 with both ends; or increasing thresholds.
        min_areas: increasing numbers of pixels.
        metric: "salt_map", "iou" or "dice", the last two per image; an image whose masks are both empty scores 1.
        ignore_index: value of the truth at pixels that are left out, also of the area.
        refine: number of further searches, each between the neighbours of the best threshold with a tenth of the step,
            and each with one more pass over the pixels.

    Returns:
        The best threshold and area, their score, and the scores of all pairs.

    Raises:
        TypeError: if probabilities are not floating point, or masks are not bool or integer.
        ValueError: if shapes, devices, values or options do not fit, or there is no valid pixel.

    Example:
        >>> truth = torch.tensor([[[0, 0, 1, 1]]])
        >>> search_threshold(torch.tensor([[[0.1, 0.2, 0.4, 0.9]]]), truth)
        BestThreshold(threshold=0.3, min_area=0, score=1.0)
    """
    if refine < 0:
        raise ValueError(f"refine must be 0 or more, got {refine}")
    grid, grids, scores = threshold_grid(thresholds), [], []
    if refine and len(grid) == 1:
        raise ValueError(
            f"refine={refine} needs at least two thresholds to search between, got one: give more, or refine=0"
        )
    for _ in range(refine + 1):
        search = ThresholdSearch(thresholds=grid, min_areas=min_areas, metric=metric, ignore_index=ignore_index)
        found = search.update(probabilities, target_masks).compute()
        grids.append(found.thresholds)
        scores.append(found.scores)
        if refine:
            grid = finer_grid(merged(grids, scores)[0], found.threshold)
    tried, table = merged(grids, scores)
    return BestThreshold(found.threshold, found.min_area, found.score, tried, found.min_areas, table)


def _check_probabilities(p: Tensor) -> Tensor | None:
    """Raise ValueError for NaN and values outside 0..1 by more than rounding, in probabilities (N, P).

    Where values cannot be read, return which images have such, (N, 1), and otherwise None.
    """
    most = 1 + rounding(torch.float32)
    if not on_cpu(p):
        return ~((p >= 0) & (p <= most)).all(1, keepdim=True)
    if p.numel() == 0:
        return None
    low, high = (float(x) for x in p.aminmax())
    if not (low >= 0 and high <= most):
        raise _beyond(f"{low:.7g} to {high:.7g}")
    return None


def _beyond(given: str) -> ValueError:
    return ValueError(
        f"probabilities must be in 0..1, got {given}: take the sigmoid of logits first, and look for NaN in the "
        "model's output"
    )
