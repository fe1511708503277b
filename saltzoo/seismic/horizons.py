"""Top and base of salt from a volume of probabilities or a mask, read slab by slab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .._checks import check_counts

Surface = npt.NDArray[np.float64]


class Sliced(Protocol):
    """Volume (inline, crossline, sample) that hands out slabs as NumPy does: an array, a memmap, a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    def __getitem__(self, key: slice, /) -> Any: ...


@dataclass(frozen=True)
class SaltHorizons:
    """Top and base of salt on the grid of a survey.

    Attributes:
        top: (inline, crossline), samples from the first one, where the salt begins in a trace; NaN where there is no
            salt, or it begins above the first sample.
        base: (inline, crossline), samples, where the deepest salt ends; NaN where there is no salt, or it goes on
            below the last sample.
        crossings: (inline, crossline), number of times that a trace enters or leaves salt. More than 2 say that
            salt overhangs sediment.
    """

    top: Surface
    base: Surface
    crossings: npt.NDArray[np.int32]


def salt_horizons(volume: Sliced, *, threshold: float = 0.5, slab: int = 16) -> SaltHorizons:
    """Return the first and the last crossing of the threshold in each trace, between samples by linear interpolation.

    A mask crosses halfway between two samples. NaN, as in dead traces, is no salt.

    Args:
        volume: probabilities in 0..1 or a bool mask, (inline, crossline, sample): anything that slices like an array.
        threshold: probability above which a sample is salt, above 0 and below 1.
        slab: number of inlines that are read at a time. Memory is about 15 bytes for each of their voxels.

    Raises:
        ValueError: if the volume has not three axes, holds values beyond 0..1, or the threshold is out of range.

    Example:
        >>> trace = np.array([0.0, 0.2, 0.7, 0.9, 0.4, 0.0])
        >>> found = salt_horizons(trace[None, None])
        >>> float(found.top[0, 0].round(2)), float(found.base[0, 0].round(2)), int(found.crossings[0, 0])
        (1.6, 3.8, 2)
    """
    check_volume(volume)
    check_counts(slab=slab)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be above 0 and below 1, got {threshold}")
    lines = volume.shape[:2]
    found = SaltHorizons(np.full(lines, np.nan), np.full(lines, np.nan), np.zeros(lines, np.int32))
    for start in range(0, lines[0], slab):
        part = slice(start, min(start + slab, lines[0]))
        values = read_slab(volume, part)
        salt = values > threshold
        changes = salt[..., 1:] != salt[..., :-1]  # inline, crossline, sample - 1
        found.crossings[part] = changes.sum(axis=-1)
        any_salt = salt.any(axis=-1)
        first = changes.argmax(axis=-1)
        last = changes.shape[-1] - 1 - changes[..., ::-1].argmax(axis=-1)
        found.top[part] = np.where(any_salt & ~salt[..., 0], _between(values, first, threshold), np.nan)
        found.base[part] = np.where(any_salt & ~salt[..., -1], _between(values, last, threshold), np.nan)
    return found


def _between(values: npt.NDArray[np.float32], above: npt.NDArray[np.intp], threshold: float) -> Surface:
    """Return the positions, samples, at which values cross the threshold between the samples `above` and the next."""
    upper, lower = (
        np.take_along_axis(values, above[..., None] + step, axis=-1)[..., 0].astype(np.float64) for step in (0, 1)
    )
    change = np.where(lower == upper, 1.0, lower - upper)
    return np.asarray(above + np.clip((threshold - upper) / change, 0, 1), np.float64)


def check_volume(volume: Sliced) -> None:
    """Raise ValueError unless the volume has three axes, lines, and two or more samples."""
    if len(volume.shape) != 3 or min(volume.shape) < 1 or volume.shape[2] < 2:
        raise ValueError(
            f"volume must be (inline, crossline, sample) with 2 samples or more, got shape {tuple(volume.shape)}: "
            "add an axis to a section, as section[None]"
        )


def read_slab(volume: Sliced, inlines: slice) -> npt.NDArray[np.float32]:
    """Return probabilities of some inlines, (inline, crossline, sample), 0 where they are NaN.

    Raises:
        ValueError: if a value is not in 0..1.
    """
    values = np.asarray(volume[inlines]).astype(np.float32)
    np.nan_to_num(values, copy=False, nan=0.0, posinf=np.inf, neginf=-np.inf)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"volume must hold probabilities in 0..1, got {values.min():g} to {values.max():g} in inlines "
            f"{inlines.start}..{inlines.stop - 1}: pass probabilities, not logits, and for 0 and 255 volume > 0"
        )
    return values
