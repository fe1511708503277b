"""Bodies of salt: connected components of a volume, found slab by slab. Imports scipy, of the extra `clean`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .._checks import check_choice, check_counts
from ._components import Labels, Parents, touching
from .horizons import Sliced, check_volume, read_slab

Values = npt.NDArray[np.float32]


class Target(Protocol):
    """Volume (inline, crossline, sample) into which slabs are written: an array, a memmap, a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    def __setitem__(self, key: slice, value: Any, /) -> None: ...


@dataclass(frozen=True)
class Body:
    """A connected body of salt.

    Attributes:
        id: number from 1, in the order in which a reader of the volume meets the bodies; that of `write_bodies`.
        voxels: number of voxels.
        box: first and last index along each axis, (inline, crossline, sample), both inside the body.
    """

    id: int
    voxels: int
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    @property
    def extent(self) -> tuple[int, int, int]:
        """Numbers of inlines, crosslines and samples of the box."""
        inlines, crosslines, samples = (last - first + 1 for first, last in self.box)
        return inlines, crosslines, samples


class Bodies:
    """Bodies of salt in a volume, the connected components of what lies above a threshold.

    Equal to `scipy.ndimage.label` of the whole volume, numbers included, in the memory of a slab: about 17 bytes for
    each of its voxels, and some for each component of a slab. Volumes are read once here, and again by
    `write_bodies`.

    Args:
        volume: probabilities in 0..1 or a bool mask, (inline, crossline, sample): anything that slices like an array.
        threshold: probability above which a voxel is salt, at least 0 and below 1. NaN is no salt.
        connectivity: 6, voxels that share a face are of one body, or 26, those that share a corner are, too.
        slab: number of inlines that are read at a time.

    Attributes:
        found: bodies by id.

    Raises:
        ImportError: without scipy.
        ValueError: if the volume has not three axes, or holds values beyond 0..1; for an option that is not possible.

    Example:
        >>> mask = np.zeros((4, 3, 5), bool)
        >>> mask[0:3, 1, 2] = mask[3, 2, 4] = True
        >>> [(body.id, body.voxels, body.extent) for body in Bodies(mask, slab=2).found]
        [(1, 3, (3, 1, 1)), (2, 1, (1, 1, 1))]
    """

    def __init__(self, volume: Sliced, *, threshold: float = 0.5, connectivity: int = 6, slab: int = 16) -> None:
        check_volume(volume)
        check_counts(slab=slab)
        check_choice("connectivity", connectivity, (6, 26))
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be at least 0 and below 1, got {threshold}")
        self._ndimage = _scipy_ndimage()
        self._volume, self._threshold, self._slab = volume, threshold, slab
        self._structure = self._ndimage.generate_binary_structure(3, 1 if connectivity == 6 else 3)
        self._numbers: list[npt.NDArray[np.int64]] = []
        self.found: tuple[Body, ...] = self._find()

    def _find(self) -> tuple[Body, ...]:
        parents = Parents()
        counts: list[npt.NDArray[np.int64]] = []
        boxes: list[tuple[int, ...]] = []
        previous: Labels | None = None
        for start, _, labels, count in self._slabs(0, self.shape[0]):
            offset = len(parents)
            parents.add(count)
            counts.append(np.bincount(labels.ravel(), minlength=count + 1)[1:])
            for place in self._ndimage.find_objects(labels):
                (i, j), (k, m), (n, o) = ((axis.start, axis.stop - 1) for axis in place)
                boxes.append((i + start, k, n, j + start, m, o))
            if previous is not None:
                for above, below in touching(previous, labels[0], self._structure):
                    parents.join(above, below + offset)
            # Numbers of the whole volume from 0; -1 where there is no salt.
            previous = np.where(labels[-1] > 0, labels[-1] + (offset - 1), -1)
            self._numbers.append(np.arange(offset, offset + count))
        roots = parents.roots()
        known, body = np.unique(roots, return_inverse=True)
        self._numbers = [np.concatenate([[0], body[part] + 1]) for part in self._numbers]
        voxels = np.bincount(body, np.concatenate(counts), minlength=len(known)).astype(np.int64)
        corners = np.array(boxes, np.int64).reshape(-1, 6)
        first = np.full((len(known), 3), np.iinfo(np.int64).max)
        last = np.full((len(known), 3), -1)
        np.minimum.at(first, body, corners[:, :3])
        np.maximum.at(last, body, corners[:, 3:])
        return tuple(
            Body(number + 1, int(size), ((int(a[0]), int(b[0])), (int(a[1]), int(b[1])), (int(a[2]), int(b[2]))))
            for number, (size, a, b) in enumerate(zip(voxels, first, last, strict=True))
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of the volume."""
        return tuple(self._volume.shape)

    def _slabs(self, start: int, stop: int) -> Iterator[tuple[int, Values, Labels, int]]:
        """Yield the first inline, the values, the labels and their number of each slab that holds these inlines."""
        for first in range(start - start % self._slab, stop, self._slab):
            values = read_slab(self._volume, slice(first, min(first + self._slab, self.shape[0])))
            labels, count = self._ndimage.label(values > self._threshold, self._structure)
            yield first, values, labels, count

    def slabs(
        self, start: int, stop: int, *, min_voxels: int = 1, others: int = 0
    ) -> Iterator[tuple[int, Values, Labels]]:
        """Yield the first inline, the values and the ids of bodies of each slab that holds some inlines.

        Args:
            start: index of the first inline.
            stop: index after the last one.
            min_voxels: number of voxels below which a body is left out.
            others: id of the voxels of bodies that are left out.
        """
        chosen = [body.id if body.voxels >= min_voxels else others for body in self.found]
        kept = np.array([0, *chosen], np.int32)
        for first, values, labels, _ in self._slabs(start, stop):
            yield first, values, kept[self._numbers[first // self._slab]][labels]

    def write_bodies(self, target: Target, *, min_voxels: int = 1) -> None:
        """Write the id of the body of each voxel, 0 outside bodies and in small ones, slab by slab.

        A bool target receives a mask without the small bodies.

        Args:
            target: volume of integers or bool, of the shape of the one that was read: anything that takes slabs.
            min_voxels: number of voxels below which a body is left out.

        Raises:
            ValueError: if the shapes differ, `min_voxels` is below 1, or the ids do not fit into the target's type.
        """
        check_counts(min_voxels=min_voxels)
        if tuple(target.shape) != self.shape:
            raise ValueError(f"target must have the volume's shape {self.shape}, got {target.shape}")
        highest = 1 if target.dtype.kind == "b" else np.iinfo(target.dtype).max if target.dtype.kind in "iu" else 0
        if highest == 0 or 1 < highest < len(self.found):
            raise ValueError(
                f"target must be bool or of integers up to {len(self.found)}, the number of bodies, got "
                f"{target.dtype}: use int32"
            )
        for first, _, ids in self.slabs(0, self.shape[0], min_voxels=min_voxels):
            target[first : first + len(ids)] = ids

    def without_small(self, min_voxels: int) -> Sliced:
        """Return the volume without small bodies, whose voxels are 0, for `salt_horizons`; it is read as it is sliced.

        Args:
            min_voxels: number of voxels below which a body is left out.

        Raises:
            ValueError: if `min_voxels` is below 1.

        Example:
            >>> mask = np.zeros((4, 3, 5), bool)
            >>> mask[0:3, 1, 2] = mask[3, 2, 4] = True
            >>> int(Bodies(mask, slab=2).without_small(2)[0:4].sum())
            3
        """
        check_counts(min_voxels=min_voxels)
        return _Kept(self, min_voxels)


class _Kept:
    """The volume of `Bodies` without small bodies, read slab by slab."""

    def __init__(self, bodies: Bodies, min_voxels: int) -> None:
        self._bodies, self._min_voxels = bodies, min_voxels
        self.shape = bodies.shape

    def __getitem__(self, key: slice, /) -> npt.NDArray[np.float32]:
        start, stop, step = key.indices(self.shape[0])
        parts = [values[max(start - first, 0) : stop - first] for first, values in self._slabs(start, stop)]
        whole = np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), np.float32)
        return whole[::step]

    def _slabs(self, start: int, stop: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        for first, values, ids in self._bodies.slabs(start, stop, min_voxels=self._min_voxels, others=-1):
            values[ids < 0] = 0
            yield first, values


def _scipy_ndimage() -> ModuleType:
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError('Bodies needs scipy: install it with `pip install "saltzoo[clean]"`') from error
    return ndimage
