"""Clean up masks: remove small patches of salt, and fill small holes in salt.

Imports scipy, of the extra `clean`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._checks import check_choice

Masks = TypeVar("Masks", npt.NDArray[Any], Tensor)


def clean(mask: Masks, *, min_size: int = 0, fill_holes: int = 0, connectivity: int = 1) -> Masks:
    """Return masks without small patches of salt, and with small holes filled.

    Patches are removed first. A hole is background that salt encloses, without a pixel at the border of the picture,
    where it may go on.

    It is worth next to nothing on tiles: of the 618 held-out tiles (fold 0 by id) of the TGS Salt Identification
    Challenge, with the weights unet_efficientnet_lite0_scse_hc.tgs and `tta="hflip"`, the score is .8246 without it,
    .8257 with `min_size=20`, .8239 with 80, and .8246 to .8248 with `fill_holes` up to 320. The threshold and size that
    `search_clean` finds on the other folds, .53 and 40, give .8249.

    Args:
        mask: (H, W) or (N, H, W), bool or integer, numpy or torch; 0 is background and one value above 0 is salt.
        min_size: number of pixels; patches of salt of fewer pixels are removed. 0 removes none.
        fill_holes: number of pixels; holes of fewer pixels are filled. 0 fills none.
        connectivity: 1 if salt pixels connect over sides, 2 if over corners too. Background pixels connect over corners
            in the first case and over sides only in the second, so that a closed line has an inside.

    Returns:
        Masks in the container, shape, dtype and value of the given ones.

    Raises:
        TypeError: if the mask is no array, or neither bool nor integer: threshold probabilities first.
        ValueError: for another shape, several values, or an option that is not possible.
        ImportError: without scipy.

    Example:
        >>> mask = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0]], dtype=np.uint8)
        >>> clean(mask, min_size=2, fill_holes=2)
        array([[1, 1, 1, 0, 0],
               [1, 1, 1, 0, 0],
               [1, 1, 1, 0, 0]], dtype=uint8)
    """
    _check_options(min_size, fill_holes, connectivity)
    given = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else mask
    salt, value = _read(given)
    if min_size > 1 and given.size:
        salt = salt & ~_small(salt, min_size, connectivity)
    if fill_holes > 1 and given.size:
        holes = _small(~salt, fill_holes, 3 - connectivity, keep_border=True)
        salt = salt | holes
    result = (salt * value).astype(given.dtype).reshape(given.shape)
    return torch.from_numpy(result).to(mask.device) if isinstance(mask, Tensor) else result


def patch_sizes(salt: npt.NDArray[np.bool_], connectivity: int) -> npt.NDArray[np.int64]:
    """Return for each pixel the number of pixels of its patch, 0 where there is no salt.

    Args:
        salt: (N, H, W).
        connectivity: 1 or 2.
    """
    labels, count = _label(salt, connectivity)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return sizes[labels]


def _small(
    region: npt.NDArray[np.bool_], size: int, connectivity: int, *, keep_border: bool = False
) -> npt.NDArray[np.bool_]:
    """Return the pixels of patches of fewer pixels than `size`, without those that touch the border on request."""
    labels, count = _label(region, connectivity)
    small = np.bincount(labels.ravel(), minlength=count + 1) < size
    small[0] = False
    if keep_border:
        for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
            small[edge] = False
    return small[labels]


def _label(region: npt.NDArray[np.bool_], connectivity: int) -> tuple[npt.NDArray[Any], int]:
    """Number the patches of pictures N H W, those of all pictures in one row."""
    ndimage = _ndimage()
    structure = np.zeros((3, 3, 3), dtype=bool)  # pictures do not touch
    structure[1] = ndimage.generate_binary_structure(2, connectivity)
    labels, count = ndimage.label(region, structure)
    return labels, count


def _ndimage() -> Any:
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError('clean needs scipy: install it with `pip install "saltzoo[clean]"`') from error
    return ndimage


def _read(mask: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], Any]:
    """Return a mask as (N, H, W) of bool, and the value of salt."""
    if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "biu":
        got = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"mask must be an array of bool or integer, got {got}: threshold probabilities first, p > 0.5")
    if mask.ndim not in (2, 3):
        raise ValueError(f"mask must be (H, W) or (N, H, W), got {mask.shape}: give one class at a time, mask[:, k]")
    value = mask.max(initial=0)
    if ((mask != 0) & (mask != value)).any():
        raise ValueError(
            f"mask must hold 0 and one value above 0, got {np.unique(mask)[:4].tolist()}: give one class at a time, "
            f"mask == k"
        )
    return (mask if mask.ndim == 3 else mask[None]) != 0, value


def _check_options(min_size: int, fill_holes: int, connectivity: int) -> None:
    for name, count in (("min_size", min_size), ("fill_holes", fill_holes)):
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
            raise ValueError(f"{name} must be a number of pixels, 0 or more, got {count!r}")
    check_choice("connectivity", connectivity, (1, 2))
