"""Search for the threshold, and the minimal area, that make the best masks of probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import torch
from torch import Tensor

from .._checks import check_choice
from ._accumulator import Accumulator
from ._average import ONE, fixed_point
from ._counts import histogram, in_parts, on_cpu
from ._grid import area_grid, best_of, finer_grid, merged, threshold_grid
from ._masks import Mask, read_probabilities
from ._on_device import as_salt
from .salt_map import tenths

Metric = Literal["salt_map", "iou", "dice"]


def _iou(intersection: Tensor, union: Tensor) -> Tensor:
    return fixed_point(intersection, union).masked_fill(union == 0, ONE)


def _dice(intersection: Tensor, union: Tensor) -> Tensor:
    return fixed_point(2 * intersection, union + intersection).masked_fill(union == 0, ONE)


# Of an intersection and a union a score in whole units, and how many units a score of 1 has.
_SCORES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    "salt_map": (tenths, 10),
    "iou": (_iou, ONE),
    "dice": (_dice, ONE),
}


@dataclass(frozen=True, eq=False)
class BestThreshold:
    """What a search found.

    Args:
        threshold: the best one: salt is where a probability is above it.
        min_area: the best one: masks of fewer pixels are emptied.
        score: what both reach.
        thresholds: all that were tried, T of them, rising.
        min_areas: all that were tried, A of them, rising.
        scores: (T, A) float64, on the host: what each pair reaches.
    """

    threshold: float
    min_area: int
    score: float
    thresholds: tuple[float, ...] = field(repr=False)
    min_areas: tuple[int, ...] = field(repr=False)
    scores: Tensor = field(repr=False)


class ThresholdSearch(Accumulator):
    """A threshold search over many batches and processes; options are those of `search_threshold`, but `refine`.

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
        check_choice("metric", metric, tuple(_SCORES))
        self.thresholds = threshold_grid(thresholds)
        self.min_areas = area_grid(min_areas)
        self.metric: Metric = metric
        self.ignore_index = ignore_index
        super().__init__(thresholds=self.thresholds, min_areas=self.min_areas, metric=metric, ignore_index=ignore_index)

    def update(self, probabilities: Mask, target_masks: Mask) -> Self:
        """Add a batch; takes what `search_threshold` takes, and raises what it raises."""
        given = read_probabilities(probabilities, target_masks, ignore_index=self.ignore_index)
        rows = (None if x is None else x.squeeze(1) for x in given)  # N P
        return self._add(in_parts(self._scored, *rows).sum(0))

    def compute(self) -> BestThreshold:
        """The best threshold and area for all images seen.

        Raises:
            ValueError: no valid pixel was seen.
        """
        sums = self._sums()
        images = sums[0]
        if images == 0:
            raise self._nothing_seen()
        totals = sums[1:].view(len(self.min_areas), -1).T  # T A
        row, column = best_of(totals)
        scores = totals.double() / (_SCORES[self.metric][1] * images)
        best = self.thresholds[row], self.min_areas[column], float(scores[row, column])
        return BestThreshold(*best, self.thresholds, self.min_areas, scores)

    def _scored(self, p: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """(1, 1 + A T): images that count, and the sum of their scores at each area and threshold."""
        score, one = _SCORES[self.metric]
        pred, both, truth, counted = self._counts(p, target, valid)
        scores = score(both, pred + truth - both).where(counted, 0)  # N T
        emptied = ((truth == 0) & counted) * one  # N 1: what is left of an image whose mask is emptied
        sums = [torch.where(pred < area, emptied, scores).sum(0) for area in self.min_areas]
        return torch.cat([counted.sum(0), *sums])[None]

    def _counts(self, p: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pixels above each threshold, and those of salt (N, T); all of salt, and whether the image counts (N, 1)."""
        given, p = p.dtype, p.to(torch.promote_types(p.dtype, torch.float32))
        kind = as_salt(target).long()
        if valid is not None:
            p, kind = p.masked_fill(~valid, 0), kind.masked_fill(~valid, 2)
        _check_probabilities(p)
        # Rounded to the precision given, as `p > threshold` rounds it. Not blocking, as a list that is sent to a device
        # otherwise is.
        grid = torch.tensor(self.thresholds, dtype=given).to(p.dtype).to(p.device, non_blocking=True)
        bins = len(self.thresholds) + 1
        # A pixel's bin is the number of thresholds that it is above, so one look at it serves all of them.
        index = kind.mul_(bins).add_(torch.bucketize(p, grid))
        pixels = histogram(index, 3 * bins).unflatten(1, (3, bins))  # N 3 T+1: of background, salt, ignored
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
    """The threshold and the minimal area whose masks score best: every pair is tried, in one pass over the pixels.

    Salt is where p > t, strictly. A mask of fewer pixels than the minimal area is emptied.

    Of equal scores the smallest area wins, and at it the middle of the longest run of thresholds: the least is
    done to the masks, and the threshold is as far from a fall as it can be. The best score of a search is
    flattering on the masks it was searched on; judge it on others.

    Args:
        probabilities: (N, H, W) or (N, 1, H, W), floating point in 0..1, a torch tensor or a numpy array. Other
            numbers are refused on a CPU; on other devices they are not looked at, which would take a wait.
        target_masks: the truth, (N, H, W) or (N, 1, H, W), bool or integer, above 0 is salt.
        thresholds: how many, even over 0..1 with both ends, or rising numbers.
        min_areas: rising numbers of pixels.
        metric: "salt_map", "iou" or "dice", the last two per image; an image where both masks are empty scores 1.
        ignore_index: pixels whose truth has this value count nowhere, not for the area either.
        refine: how often to search again, each time between the neighbours of the best threshold in steps a
            tenth as wide; each takes one more pass.

    Returns:
        threshold, min_area, score, and the scores of all pairs.

    Raises:
        TypeError: probabilities are not floating point, or masks not bool or integer.
        ValueError: shapes, devices, values or options do not fit, or there is no valid pixel.

    Example:
        >>> truth = torch.tensor([[[0, 0, 1, 1]]])
        >>> search_threshold(torch.tensor([[[0.1, 0.2, 0.4, 0.9]]]), truth)
        BestThreshold(threshold=0.3, min_area=0, score=1.0)
    """
    if refine < 0:
        raise ValueError(f"refine={refine} is no number of rounds. Give 0 or more.")
    grid, grids, scores = threshold_grid(thresholds), [], []
    if refine and len(grid) == 1:
        raise ValueError(f"refine={refine} has no neighbours of the one threshold to search between. Give two or more.")
    for _ in range(refine + 1):
        search = ThresholdSearch(thresholds=grid, min_areas=min_areas, metric=metric, ignore_index=ignore_index)
        found = search.update(probabilities, target_masks).compute()
        grids.append(found.thresholds)
        scores.append(found.scores)
        if refine:
            grid = finer_grid(merged(grids, scores)[0], found.threshold)
    tried, table = merged(grids, scores)
    return BestThreshold(found.threshold, found.min_area, found.score, tried, found.min_areas, table)


def _check_probabilities(p: Tensor) -> None:
    """Refuses NaN and what is outside 0..1 on a CPU; elsewhere the host would have to wait."""
    if not on_cpu(p) or p.numel() == 0:
        return
    low, high = (float(x) for x in p.aminmax())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"probabilities are {low:.4g} to {high:.4g}. Give numbers in 0..1: of logits take the sigmoid first, "
            "and look for NaN in the model."
        )
