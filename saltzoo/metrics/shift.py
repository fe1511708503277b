"""Shift of probabilities to a common threshold."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Probabilities = TypeVar("Probabilities", Tensor, npt.NDArray[Any])


def shift_probabilities(probabilities: Probabilities, threshold: float) -> Probabilities:
    """Shift probabilities so that `threshold` becomes .5.

    The best threshold (`search_threshold`) differs between folds. After the shift the mean over folds can be
    thresholded at .5. All odds p/(1 - p) are divided by the odds of the threshold: t becomes .5, and 0, 1 and the order
    of all probabilities stay.

    Args:
        probabilities: floating point tensor or array of any shape, in 0..1, which is not checked.
        threshold: threshold t, above 0 and below 1.

    Returns:
        p (1 - t) / (p (1 - t) + (1 - p) t) in the shape and dtype and on the device of the probabilities. Half
        precision is computed in float32. By rounding, a p next to t may become .5 too.

    Raises:
        TypeError: if the probabilities are not floating point, or neither tensor nor array.
        ValueError: if the threshold, in the precision of the probabilities, is not between 0 and 1.

    Example:
        >>> shift_probabilities(torch.tensor([0.0, 0.2, 0.5, 1.0]), 0.2)
        tensor([0.0000, 0.5000, 0.8000, 1.0000])
    """
    if isinstance(probabilities, Tensor) and probabilities.is_floating_point():
        wide = torch.promote_types(probabilities.dtype, torch.float32)
        # A scalar tensor on the host combines with probabilities on any device.
        shifted = _shifted(probabilities.to(wide), _between(torch.tensor(threshold, dtype=wide), threshold))
        return shifted.to(probabilities.dtype)
    if isinstance(probabilities, np.ndarray) and probabilities.dtype.kind == "f":
        exact = np.promote_types(probabilities.dtype, np.float32)
        moved = _shifted(probabilities.astype(exact), _between(exact.type(threshold), threshold))
        return moved.astype(probabilities.dtype)
    given = getattr(probabilities, "dtype", type(probabilities).__name__)
    raise TypeError(f"probabilities must be a tensor or an array of floating point numbers in 0..1, got {given}")


def _between(rounded: Any, threshold: float) -> Any:
    if not 0 < rounded < 1:
        raise ValueError(
            f"threshold must be above 0 and below 1, got {threshold}: at 0 or 1 every mask is full or empty"
        )
    return rounded


def _shifted(p: Any, t: Any) -> Any:
    # p and t go through the same steps, so a p that equals t becomes exactly .5.
    salt = p * (1 - t)
    return salt / (salt + (1 - p) * t)
