"""salt_counts: how much salt each line and each sample of a volume has, read slab by slab."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._checks import check_counts
from .horizons import Sliced, check_volume, read_slab

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SaltCounts:
    """Number of voxels of salt along each axis.

    Attributes:
        inlines: voxels of salt in each inline.
        crosslines: voxels of salt in each crossline.
        samples: voxels of salt at each sample.
    """

    inlines: Counts
    crosslines: Counts
    samples: Counts

    @property
    def voxels(self) -> int:
        """Voxels of salt."""
        return int(self.inlines.sum())

    def richest(self) -> tuple[int, int, int]:
        """Return the indices of the inline, the crossline and the sample with the most salt; the middle without any."""
        axes = (self.inlines, self.crosslines, self.samples)
        if not self.voxels:
            return len(axes[0]) // 2, len(axes[1]) // 2, len(axes[2]) // 2
        return int(axes[0].argmax()), int(axes[1].argmax()), int(axes[2].argmax())


def salt_counts(volume: Sliced, *, threshold: float = 0.5, slab: int = 16) -> SaltCounts:
    """Return the number of voxels of salt in each inline, each crossline, and at each sample.

    Args:
        volume: probabilities in 0..1 or a bool mask, (inline, crossline, sample): anything that slices like an array.
        threshold: probability above which a voxel is salt. NaN is no salt.
        slab: number of inlines that are read at a time.

    Raises:
        ValueError: if the volume has not three axes, or holds values beyond 0..1.

    Example:
        >>> mask = np.zeros((2, 3, 4), bool)
        >>> mask[1, 2] = True
        >>> found = salt_counts(mask)
        >>> found.voxels, found.richest(), found.samples.tolist()
        (4, (1, 2, 0), [1, 1, 1, 1])
    """
    check_volume(volume)
    check_counts(slab=slab)
    lines, traces, samples = volume.shape
    found = SaltCounts(np.zeros(lines, np.int64), np.zeros(traces, np.int64), np.zeros(samples, np.int64))
    for start in range(0, lines, slab):
        part = slice(start, min(start + slab, lines))
        salt = read_slab(volume, part) > threshold
        found.inlines[part] = salt.sum((1, 2))
        found.crosslines[:] += salt.sum((0, 2))
        found.samples[:] += salt.sum((0, 1))
    return found
