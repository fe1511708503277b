"""The files of one picture, written in strips: mask, probabilities and overlay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..draw import overlay
from ..inference import clean
from ..seismic import Lazy, as_uint8, write_mask, write_picture, write_probabilities
from .outputs import Job

SHOWN = 2**20
"""Samples that the range of amplitudes in an overlay is taken from, about."""

Opened = npt.NDArray[Any] | Lazy
"""A picture H W, or what slices like one."""

Mask = npt.NDArray[np.bool_] | Lazy


def mask_of(probabilities: npt.NDArray[np.float32], *, threshold: float, min_size: int, fill_holes: int) -> Mask:
    """Return the mask of probabilities. It is in memory as a whole only if it is cleaned, as bodies cross strips."""
    mask = Lazy(lambda part: part > threshold, probabilities, dtype=np.bool_)
    if min_size <= 1 and fill_holes <= 1:
        return mask
    return clean(mask[:], min_size=min_size, fill_holes=fill_holes)


def write_files(
    probabilities: npt.NDArray[np.float32],
    picture: Opened,
    mask: Mask,
    job: Job,
    *,
    normalize: str,
    overwrite: bool,
) -> None:
    """Write the files of a picture, the mask last.

    Raises:
        OSError, ValueError: as the writers do.
    """
    for kind, file in reversed(job.files.items()):
        if kind == "probabilities":
            write_probabilities(file, probabilities, overwrite=overwrite)
        elif kind == "overlay":
            write_picture(file, _overlay(picture, mask, normalize), overwrite=overwrite)
        else:
            write_mask(file, mask, overwrite=overwrite)


def _overlay(picture: Opened, mask: Mask, normalize: str) -> Lazy:
    """Return a picture with its mask, H W 3, uint8."""
    shown = as_uint8 if normalize == "image" else _stretched(picture)
    return Lazy(lambda gray, salt: overlay(shown(gray), salt), picture, mask, dtype=np.uint8, channels=(3,))


def _stretched(picture: Opened) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.uint8]]:
    """Return a function of parts of amplitudes that gives them in 8 bits, from the 1st to the 99th percentile.

    Of a large picture, the percentiles are those of about a million samples.
    """
    step = max(1, int((picture.size / SHOWN) ** 0.5))
    sample = picture[::step, ::step]
    finite = sample[np.isfinite(sample)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 0.0)

    def shown(part: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        unit = (np.nan_to_num(part, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-30)
        return as_uint8(unit.clip(0, 1).astype(np.float32))

    return shown
