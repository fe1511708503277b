"""Pseudo-labels: masks of unlabelled tiles that several models agree on.

Lee: "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks", ICML 2013
workshop. That tiles without salt keep their share is from a public solution of the TGS Salt challenge.
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


class PseudoLabels(NamedTuple, Generic[A]):
    """Tiles that were kept, in the order of the tiles: numpy arrays or tensors, as the probabilities were.

    Attributes:
        indices: K positions among the tiles, int64, rising: `tiles.select(indices)`.
        masks: K H W, bool.
        scores: K, float32: how far the models agree, 0 to 1.
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
    """Masks of the unlabelled tiles that models agree on, with as many empty ones among them as in the training set.

    The mask is where the mean of the models is above one half. A tile passes if the mean is outside `low`..`high` for
    at least `sure` of its pixels, and the models' own masks have a mean IoU with it of at least `min_iou` (two empty
    masks have an IoU of 1; with a single model this always holds). Its score is the product of the two. Of those that
    pass, the best with salt and the best without are kept, as many as the share of empty masks allows.

    The models must not have seen the tiles that the student is validated on: take those of the student's own fold
    only, not the mean over all folds. A teacher that knows the validation tiles tells the student their masks by way
    of their neighbours, and its score rises by .005 that is false.

    Args:
        probabilities: of M models (M, N, H, W), or of one (N, H, W); floating point in 0..1, half precision too.
        sure: least share of pixels that the models are sure of.
        low: at most this is surely no salt.
        high: at least this is surely salt.
        min_iou: least mean IoU between the models' masks and that of their mean.
        empty_share: share of the kept masks that are empty, to the nearest whole tile; .39 in the competition's
            training set.
        count: keep at most so many; None for all that the share allows.

    Returns:
        Indices, masks and scores, on the device of the probabilities. The same input gives the same tiles: of equal
        scores the earlier tile is kept.

    Raises:
        TypeError: the probabilities are no array or tensor of floating point.
        ValueError: shape, range or an option makes no sense, or no tile can be kept.

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
            f"pass, and a share of {empty_share} is to be empty. Lower sure or min_iou, or change empty_share"
        )
    kept = torch.cat([empty_tiles[:empties], salt_tiles[:others]]).sort().values
    labels = (kept, masks[kept], scores[kept])
    if isinstance(probabilities, Tensor):
        return PseudoLabels(*labels)
    return PseudoLabels(*(one.numpy() for one in labels))


def _judge(probabilities: Tensor, low: float, high: float) -> tuple[Tensor, Tensor, Tensor]:
    """M n H W -> masks n H W, the share of sure pixels n, the mean IoU of the models' masks n."""
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(
            f"probabilities must be in 0..1 without NaN, got {probabilities.min():.4g} to {probabilities.max():.4g}: "
            f"take the sigmoid of logits"
        )
    exact = probabilities.float()
    mean = exact.mean(0)  # n H W
    mask = mean > 0.5
    own = exact > 0.5  # M n H W
    common, either = (own & mask).sum((2, 3)), (own | mask).sum((2, 3))  # M n
    iou = torch.where(either > 0, common / either, 1.0).mean(0)
    return mask, ((mean <= low) | (mean >= high)).float().mean((1, 2)), iou


def _how_many(empty: int, salt: int, share: float, count: int | None) -> tuple[int, int]:
    """The most tiles (without, with salt) of so many, of which the nearest whole number to that share is empty."""
    for total in range(min(empty + salt, empty + salt if count is None else count), 0, -1):
        empties = int(share * total + 0.5)
        if empties <= empty and total - empties <= salt:
            return empties, total - empties
    return 0, 0


def _read(probabilities: Tensor | npt.NDArray[Any]) -> Tensor:
    """M N H W, of the same memory where it can be."""
    if isinstance(probabilities, np.ndarray) and probabilities.dtype.kind == "f":
        native = probabilities.dtype.newbyteorder("=")
        given = torch.from_numpy(np.require(probabilities, dtype=native, requirements=["C", "W"]))
    elif isinstance(probabilities, Tensor) and probabilities.is_floating_point():
        given = probabilities.detach()
    else:
        kind = getattr(probabilities, "dtype", type(probabilities).__name__)
        raise TypeError(
            f"probabilities are {kind}: give a torch tensor or a numpy array of floating-point numbers in 0..1"
        )
    if given.ndim not in (3, 4) or 0 in given.shape:
        raise ValueError(
            f"probabilities have shape {tuple(given.shape)}: give (M, N, H, W) of M models, or (N, H, W) of one"
        )
    return given if given.ndim == 4 else given[None]


def check_options(*, low: float, high: float, count: int | None = None, **shares: float) -> None:
    """Refuses options of `agreement` that make no sense.

    Raises:
        ValueError: if one does not.
    """
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is a share of 0 to 1, got {share}")
    if not 0 <= low <= 0.5 <= high <= 1:
        raise ValueError(f"low must be 0 to .5, high .5 to 1, got {low} and {high}")
    if count is not None:
        check_counts(count=count)
