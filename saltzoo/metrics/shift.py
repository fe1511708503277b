"""Probabilities of several models brought to one threshold."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Probabilities = TypeVar("Probabilities", Tensor, npt.NDArray[Any])


def shift_probabilities(probabilities: Probabilities, threshold: float) -> Probabilities:
    """Probabilities whose best threshold is `threshold`, moved so that it becomes .5.

    Each fold has a best threshold of its own (`search_threshold`). Shifted, their mean can be cut at .5. All
    odds p/(1 - p) are divided by those of the threshold: t becomes .5, 0 and 1 stay, the order stays.

    Args:
        probabilities: in 0..1, any shape, a floating tensor or array. Not checked.
        threshold: t, between 0 and 1.

    Returns:
        p (1 - t) / (p (1 - t) + (1 - p) t), in the shape, dtype and on the device given. Half precision is
        computed in float32. Up to rounding: a p next to t may become .5 too.

    Raises:
        TypeError: not floating point, or neither tensor nor array.
        ValueError: the threshold is not between 0 and 1 in the precision of the probabilities.

    Example:
        >>> shift_probabilities(torch.tensor([0.0, 0.2, 0.5, 1.0]), 0.2)
        tensor([0.0000, 0.5000, 0.8000, 1.0000])
    """
    if isinstance(probabilities, Tensor) and probabilities.is_floating_point():
        wide = torch.promote_types(probabilities.dtype, torch.float32)
        # A tensor of the host: the arithmetic below takes it as a number, wherever the probabilities are.
        shifted = _shifted(probabilities.to(wide), _between(torch.tensor(threshold, dtype=wide), threshold))
        return shifted.to(probabilities.dtype)
    if isinstance(probabilities, np.ndarray) and probabilities.dtype.kind == "f":
        exact = np.promote_types(probabilities.dtype, np.float32)
        moved = _shifted(probabilities.astype(exact), _between(exact.type(threshold), threshold))
        return moved.astype(probabilities.dtype)
    given = getattr(probabilities, "dtype", type(probabilities).__name__)
    raise TypeError(f"probabilities are {given}. Give a tensor or an array of floating point numbers in 0..1.")


def _between(rounded: Any, threshold: float) -> Any:
    if not 0 < rounded < 1:
        raise ValueError(f"threshold={threshold} is not between 0 and 1. At 0 or 1 every mask is full or empty.")
    return rounded


def _shifted(p: Any, t: Any) -> Any:
    # Every step is taken of t as it is of p, so a p that equals t becomes exactly .5.
    salt = p * (1 - t)
    return salt / (salt + (1 - p) * t)
