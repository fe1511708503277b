"""Bodies of salt: connected components of a volume, found slab by slab. Imports scipy, of the extra `clean`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .._checks import check_choice, check_counts
from .horizons import Sliced, check_volume, read_slab
from .writers import whole_file

Labels = npt.NDArray[np.int32]


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
        self.found = self._find()

    def _find(self) -> tuple[Body, ...]:
        parents = _Parents()
        counts: list[npt.NDArray[np.int64]] = []
        boxes: list[tuple[int, ...]] = []
        previous: Labels | None = None
        for start, labels, count in self._slabs():
            offset = len(parents)
            parents.add(count)
            counts.append(np.bincount(labels.ravel(), minlength=count + 1)[1:])
            for place in self._ndimage.find_objects(labels):
                (i, j), (k, m), (n, o) = ((axis.start, axis.stop - 1) for axis in place)
                boxes.append((i + start, k, n, j + start, m, o))
            if previous is not None:
                for above, below in _touching(previous, labels[0], self._structure):
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

    def _slabs(self) -> Iterator[tuple[int, Labels, int]]:
        """Yield the first inline of each slab, its labels, and their number."""
        lines = self._volume.shape[0]
        for start in range(0, lines, self._slab):
            part = slice(start, min(start + self._slab, lines))
            labels, count = self._ndimage.label(read_slab(self._volume, part) > self._threshold, self._structure)
            yield start, labels, count

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
        if tuple(target.shape) != tuple(self._volume.shape):
            raise ValueError(f"target must have the volume's shape {tuple(self._volume.shape)}, got {target.shape}")
        highest = 1 if target.dtype.kind == "b" else np.iinfo(target.dtype).max if target.dtype.kind in "iu" else 0
        if highest == 0 or 1 < highest < len(self.found):
            raise ValueError(
                f"target must be bool or of integers up to {len(self.found)}, the number of bodies, got "
                f"{target.dtype}: use int32"
            )
        kept = np.array([0, *(body.id if body.voxels >= min_voxels else 0 for body in self.found)], np.int32)
        for (start, labels, _), numbers in zip(self._slabs(), self._numbers, strict=True):
            target[start : start + len(labels)] = kept[numbers][labels]


def write_bodies_csv(
    path: str | os.PathLike[str], bodies: tuple[Body, ...], *, min_voxels: int = 1, overwrite: bool = False
) -> Path:
    """Write a table of bodies, the largest first, and return its path: id, voxels, and the box as indices.

    Args:
        path: file; missing folders are created.
        bodies: bodies, as `Bodies.found`.
        min_voxels: number of voxels below which a body is left out.
        overwrite: whether a file that is there is replaced.

    Raises:
        FileExistsError: if the file is there and is not to be replaced.
        OSError: if the file cannot be written; then no part of it is there.
    """
    check_counts(min_voxels=min_voxels)
    rows = sorted((one for one in bodies if one.voxels >= min_voxels), key=lambda one: (-one.voxels, one.id))
    with whole_file(Path(path), overwrite=overwrite) as file:
        text = io.StringIO()
        text.write("id,voxels,inline_first,inline_last,crossline_first,crossline_last,sample_first,sample_last\n")
        for body in rows:
            text.write(",".join(map(str, (body.id, body.voxels, *(end for axis in body.box for end in axis)))) + "\n")
        file.write(text.getvalue().encode("ascii"))
    return Path(path)


class _Parents:
    """Disjoint sets of numbers: a forest whose roots are the smallest numbers of the sets."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def __len__(self) -> int:
        return len(self._parent)

    def add(self, count: int) -> None:
        self._parent.extend(range(len(self._parent), len(self._parent) + count))

    def root(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]  # halves the path for the next search
            number = parent[number]
        return number

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low

    def roots(self) -> npt.NDArray[np.int64]:
        return np.array([self.root(number) for number in range(len(self))], np.int64)


def _touching(above: Labels, below: Labels, structure: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return pairs of numbers that touch across the border of two slabs, both from 0, each pair once."""
    pairs: list[npt.NDArray[np.int64]] = []
    height, width = below.shape
    for dx, dz in (np.argwhere(structure[0]) - 1).tolist():
        upper = above[max(-dx, 0) : height - max(dx, 0), max(-dz, 0) : width - max(dz, 0)]
        lower = below[max(dx, 0) : height - max(-dx, 0), max(dz, 0) : width - max(-dz, 0)]
        both = (upper >= 0) & (lower > 0)
        pairs.append(np.unique(np.stack([upper[both], lower[both] - 1], axis=1), axis=0))
    return [(one, other) for one, other in np.unique(np.concatenate(pairs), axis=0).tolist()]


def _scipy_ndimage() -> ModuleType:
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError('Bodies needs scipy: install it with `pip install "saltzoo[clean]"`') from error
    return ndimage
