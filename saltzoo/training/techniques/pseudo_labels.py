"""Pseudo-labels: masks for unlabelled tiles on which several models agree.

Lee: "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks", ICML 2013
workshop. Keeping the fraction of tiles without salt follows a public solution of the TGS Salt challenge.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..._checks import check_counts

A = TypeVar("A", Tensor, npt.NDArray[Any])

CHUNK = 512
"""Number of tiles that are compared at a time."""


class PseudoLabels(NamedTuple, Generic[A]):
    """Kept tiles in their original order, as numpy arrays or tensors, like the probabilities.

    Attributes:
        indices: K positions among the tiles, int64, increasing, for `tiles.select(indices)`.
        masks: K H W, bool.
        scores: K, float32, agreement of the models, 0 to 1.
    """

    indices: A
    masks: A
    scores: A


def agreement(
    probabilities: A,
    *,
    sure: float = 0.9,
    low: float = 0.2,
    high: float = 0.8,
    min_iou: float = 0.8,
    empty_share: float = 0.39,
    count: int | None = None,
) -> PseudoLabels[A]:
    """Return masks of the unlabelled tiles on which models agree, with a given fraction of empty masks.

    A mask holds the pixels where the mean probability of the models is above one half. A tile passes if the mean is
    at most `low` or at least `high` for a fraction of at least `sure` of its pixels, and the mean IoU between the
    mask and the masks of the single models is at least `min_iou` (the IoU of two empty masks is 1; a single model
    always agrees with itself). The score of a tile is that fraction times that IoU. Of the tiles that pass, those with
    the best scores are kept, as many with and without salt as `empty_share` allows.

    No model may have seen the tiles that validate the student: use models of the student's fold alone, not the mean
    over all folds. A model that was trained on the validation tiles passes their masks to the student through
    neighbouring tiles, which raises the student's score by .005 without merit.

    Args:
        probabilities: (M, N, H, W) of M models, or (N, H, W) of one; floating point in 0..1, half precision included.
        sure: smallest fraction of certain pixels in a tile.
        low: largest probability that counts as certainly no salt.
        high: smallest probability that counts as certainly salt.
        min_iou: smallest mean IoU between the mask and the masks of the models.
        empty_share: fraction of empty masks among the kept ones, to the nearest whole tile; .39 in the training set
            of the challenge.
        count: largest number of kept tiles; None for all that `empty_share` allows.

    Returns:
        Indices, masks and scores, on the device of the probabilities. Among equal scores, the earlier tile is kept.

    Raises:
        TypeError: if `probabilities` is not a floating-point array or tensor.
        ValueError: if a shape, a probability or an option is out of range, or no tile can be kept.

    Example:
        >>> tiles = torch.tensor([0.95, 0.05, 0.55, 0.02]).view(4, 1, 1).expand(4, 2, 2)
        >>> labels = agreement(tiles, empty_share=0.4)
        >>> labels.indices, labels.masks.flatten(1).any(1)
        (tensor([0, 1]), tensor([ True, False]))
    """
    check_options(sure=sure, low=low, high=high, min_iou=min_iou, empty_share=empty_share, count=count)
    given = _read(probabilities)
    parts = [_judge(part, low, high) for part in given.split(CHUNK, dim=1)]
    masks, certain, alike = (torch.cat(column) for column in zip(*parts, strict=True))
    scores = certain * alike
    passed, salt = (certain >= sure) & (alike >= min_iou), masks.flatten(1).any(1)
    ranked = scores.argsort(descending=True, stable=True)
    empty_tiles, salt_tiles = ranked[(passed & ~salt)[ranked]], ranked[(passed & salt)[ranked]]
    empties, others = _how_many(len(empty_tiles), len(salt_tiles), empty_share, count)
    if empties + others == 0:
        raise ValueError(
            f"no tile can be kept: of {len(masks)}, {len(empty_tiles)} without salt and {len(salt_tiles)} with salt "
            f"pass, and empty_share={empty_share}. Lower sure or min_iou, or change empty_share"
        )
    kept = torch.cat([empty_tiles[:empties], salt_tiles[:others]]).sort().values
    labels = (kept, masks[kept], scores[kept])
    if isinstance(probabilities, Tensor):
        return PseudoLabels(*labels)
    return PseudoLabels(*(one.numpy() for one in labels))


def _judge(probabilities: Tensor, low: float, high: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return masks n H W, fractions of certain pixels n, and mean IoUs n, for probabilities M n H W."""
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(
            f"probabilities must be in 0..1 without NaN, got {probabilities.min():.4g} to {probabilities.max():.4g}: "
            f"apply a sigmoid to logits"
        )
    exact = probabilities.float()
    mean = exact.mean(0)  # n H W
    mask = mean > 0.5
    own = exact > 0.5  # M n H W
    common, either = (own & mask).sum((2, 3)), (own | mask).sum((2, 3))  # M n
    iou = torch.where(either > 0, common / either, 1.0).mean(0)
    return mask, ((mean <= low) | (mean >= high)).float().mean((1, 2)), iou


def _how_many(empty: int, salt: int, share: float, count: int | None) -> tuple[int, int]:
    """Return the largest numbers of tiles (without salt, with salt) of which the given share is without salt."""
    for total in range(min(empty + salt, empty + salt if count is None else count), 0, -1):
        empties = int(share * total + 0.5)
        if empties <= empty and total - empties <= salt:
            return empties, total - empties
    return 0, 0


def _read(probabilities: Tensor | npt.NDArray[Any]) -> Tensor:
    """Return probabilities as a tensor M N H W, without a copy where possible."""
    if isinstance(probabilities, np.ndarray) and probabilities.dtype.kind == "f":
        native = probabilities.dtype.newbyteorder("=")
        given = torch.from_numpy(np.require(probabilities, dtype=native, requirements=["C", "W"]))
    elif isinstance(probabilities, Tensor) and probabilities.is_floating_point():
        given = probabilities.detach()
    else:
        typed = isinstance(probabilities, np.ndarray | Tensor)
        kind = probabilities.dtype if typed else type(probabilities).__name__
        raise TypeError(
            f"probabilities must be a floating-point tensor or numpy array, got {kind}: convert them to 0..1"
        )
    if given.ndim not in (3, 4) or 0 in given.shape:
        raise ValueError(
            f"probabilities must have shape (M, N, H, W) for M models or (N, H, W) for one, and hold a tile, "
            f"got {tuple(given.shape)}"
        )
    return given if given.ndim == 4 else given[None]


def check_options(*, low: float, high: float, count: int | None = None, **shares: float) -> None:
    """Raise ValueError if an option of `agreement` is out of its range."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must be at least 0 and at most 1, got {share}")
    if not 0 <= low <= 0.5 <= high <= 1:
        raise ValueError(f"low must be in 0..0.5 and high in 0.5..1, got low={low} and high={high}")
    if count is not None:
        check_counts(count=count)
