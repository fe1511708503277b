"""Disagreement: where the members of an ensemble differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, overload

import numpy as np
from torch import Tensor

from ..contracts import SegmentationModel
from ..zoo.ensemble import Ensemble
from .inputs import Array, Scalars
from .predict import predict
from .tta import Transform


@overload
def disagreement(
    ensemble: Ensemble,
    images: Array,
    *,
    scalars: Scalars | None = ...,
    tta: str | Sequence[Transform] | None = ...,
    batch_size: int = ...,
) -> Array: ...
@overload
def disagreement(
    ensemble: Ensemble,
    images: Tensor,
    *,
    scalars: Scalars | None = ...,
    tta: str | Sequence[Transform] | None = ...,
    batch_size: int = ...,
) -> Tensor: ...
@overload
def disagreement(
    ensemble: Ensemble,
    images: Sequence[Array | Tensor],
    *,
    scalars: Scalars | None = ...,
    tta: str | Sequence[Transform] | None = ...,
    batch_size: int = ...,
) -> list[Array | Tensor]: ...
def disagreement(
    ensemble: Ensemble,
    images: Array | Tensor | Sequence[Array | Tensor],
    *,
    scalars: Scalars | None = None,
    tta: str | Sequence[Transform] | None = None,
    batch_size: int = 32,
) -> Array | Tensor | list[Array | Tensor]:
    """Return the standard deviation of the probabilities of an ensemble's members, for each pixel.

    The deviation is that of the members themselves, with the ensemble's weights: 0 where all agree, .5 where half of
    them are sure of salt and half of its absence.

    Args:
        ensemble: a `saltzoo.Ensemble`.
        images: as for `saltzoo.predict`.
        scalars: as for `saltzoo.predict`.
        tta: as for `saltzoo.predict`; each member's probabilities are averaged over it first.
        batch_size: number of tiles per batch.

    Returns:
        float32, in the container and shape of what `saltzoo.predict` returns for the same images.

    Raises:
        TypeError: if the model is not an ensemble.
        ValueError: as in `saltzoo.predict`.

    Example:
        >>> import saltzoo
        >>> ensemble = saltzoo.Ensemble([saltzoo.create_model("saltnet_s") for _ in range(2)])
        >>> disagreement(ensemble, np.zeros((3, 101, 101), dtype=np.uint8)).shape
        (3, 101, 101)
    """
    if not isinstance(ensemble, Ensemble):
        raise TypeError(
            f"ensemble must be a saltzoo.Ensemble, got a {type(ensemble).__name__}: one model has no members"
        )
    spread = _Spread()
    for member, weight in zip(ensemble.members, ensemble.weights, strict=True):
        model = cast(SegmentationModel, member)
        maps: Any = predict(model, images, scalars=scalars, tta=tta, batch_size=batch_size)
        spread.add(maps if isinstance(maps, list) else [maps], weight)
    found = spread.deviations()
    return found if not isinstance(images, (np.ndarray, Tensor)) else found[0]


class _Spread:
    """Weighted mean and variance of maps, updated one map at a time (West 1979): only two are held at once."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._means: list[Any] = []
        self._squares: list[Any] = []

    def add(self, maps: Sequence[Any], weight: float) -> None:
        if not self._means:
            self._means = [one * 0 for one in maps]
            self._squares = [one * 0 for one in maps]
        self._weight += weight
        share = weight / self._weight
        for position, one in enumerate(maps):
            step = one - self._means[position]
            self._means[position] = self._means[position] + step * share
            self._squares[position] = self._squares[position] + weight * step * (one - self._means[position])

    def deviations(self) -> list[Any]:
        return [(squares.clip(0) / self._weight) ** 0.5 for squares in self._squares]
