"""Search for the threshold and the minimal size of a patch together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._checks import check_choice
from ..metrics import salt_map, search_threshold
from .clean import patch_sizes

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class BestClean:
    """Result of a search.

    Attributes:
        threshold: best threshold; salt is where a probability is above it.
        min_size: best minimal size; patches of fewer pixels are removed.
        score: score of the two.
        thresholds: all T thresholds tried, increasing.
        min_sizes: all S sizes tried, increasing.
        scores: score of each pair, (T, S).
    """

    threshold: float
    min_size: int
    score: float
    thresholds: tuple[float, ...] = field(repr=False)
    min_sizes: tuple[int, ...] = field(repr=False)
    scores: npt.NDArray[np.float64] = field(repr=False)


def search_clean(
    probabilities: Array | Tensor,
    target_masks: Array | Tensor,
    *,
    thresholds: int | Sequence[float] = 101,
    min_sizes: Sequence[int] = (0, 10, 20, 40, 80),
    connectivity: int = 1,
    keep: int = 11,
) -> BestClean:
    """Return the threshold and the minimal size of a patch whose masks have the best `salt_map`, searched together.

    `saltzoo.metrics.search_threshold` scores all thresholds without removing anything, which is fast. Patches are then
    removed at the `keep` best of them, for each minimal size. Unlike the minimal area of `search_threshold`, the
    minimal size holds for each patch of a mask, as in `saltzoo.inference.clean`.

    Among equal scores the smallest size wins, and then the threshold with the best score without removal. The best
    score is biased upwards on the masks of the search: give probabilities of tiles that the model has not seen (of
    the folds of a cross-validation, for all tiles), and measure the result on others.

    Args:
        probabilities: (N, H, W) in 0..1, numpy or torch.
        target_masks: truth, (N, H, W), bool or integer, above 0 is salt.
        thresholds: number of thresholds, spread evenly over 0 to 1 with both ends; or increasing thresholds.
        min_sizes: increasing numbers of pixels.
        connectivity: as in `clean`.
        keep: number of thresholds at which patches are removed.

    Raises:
        TypeError: if probabilities are not floating point, or masks are not bool or integer.
        ValueError: if shapes, values or options do not fit.
        ImportError: without scipy.

    Example:
        >>> truth = torch.tensor([[[0, 0, 1, 1]]])
        >>> search_clean(torch.tensor([[[0.8, 0.2, 0.6, 0.9]]]), truth, min_sizes=(0, 2), thresholds=[0.3, 0.7])
        BestClean(threshold=0.3, min_size=2, score=1.0)
    """
    check_choice("connectivity", connectivity, (1, 2))
    if not len(probabilities):
        raise ValueError("probabilities must hold one or more images, got none: give those of the held-out tiles")
    sizes = tuple(min_sizes)
    if not sizes or sizes[0] < 0 or list(sizes) != sorted(set(sizes)):
        raise ValueError(f"min_sizes must be increasing numbers of pixels, 0 or more, got {min_sizes!r}")
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    found = search_threshold(probabilities, target_masks, thresholds=thresholds)
    plain = found.scores[:, 0].numpy()
    order = np.argsort(-plain, kind="stable")
    # The best one is the middle of the longest run of equal scores, which comes first among its equals.
    order = np.array([found.thresholds.index(found.threshold), *order])
    chosen = list(dict.fromkeys(order.tolist()))[:keep]
    p = probabilities.detach().cpu().numpy() if isinstance(probabilities, Tensor) else probabilities
    p = p.reshape(-1, *p.shape[-2:])
    truth = torch.as_tensor(target_masks).cpu().reshape(p.shape)
    table = {row: _scores(p > found.thresholds[row], truth, sizes, connectivity) for row in chosen}
    best = max(
        ((table[row][column], -column, -rank) for rank, row in enumerate(chosen) for column in range(len(sizes)))
    )
    rows = sorted(chosen)
    return BestClean(
        found.thresholds[chosen[-best[2]]],
        sizes[-best[1]],
        float(best[0]),
        tuple(found.thresholds[row] for row in rows),
        sizes,
        np.array([table[row] for row in rows]),
    )


def _scores(salt: npt.NDArray[np.bool_], truth: Tensor, sizes: Sequence[int], connectivity: int) -> list[float]:
    """Return the score of masks (N, H, W) without patches below each size."""
    patches = patch_sizes(salt, connectivity)
    return [float(salt_map(torch.from_numpy(salt & (patches >= size)), truth)) for size in sizes]
