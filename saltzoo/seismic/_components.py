"""Components of slabs that touch each other become one: disjoint sets, and the pairs across a border."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int32]


class Parents:
    """Disjoint sets of numbers: a forest whose roots are the smallest numbers of the sets."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def __len__(self) -> int:
        return len(self._parent)

    def add(self, count: int) -> None:
        """Add sets of one number each."""
        self._parent.extend(range(len(self._parent), len(self._parent) + count))

    def root(self, number: int) -> int:
        """Return the smallest number of the set."""
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]  # halves the path for the next search
            number = parent[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Join the sets of two numbers."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low

    def roots(self) -> npt.NDArray[np.int64]:
        """Return the root of each number."""
        return np.array([self.root(number) for number in range(len(self))], np.int64)


def touching(above: Labels, below: Labels, structure: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return pairs of numbers that touch across the border of two slabs, both from 0, each pair once."""
    pairs: list[npt.NDArray[np.int64]] = []
    height, width = below.shape
    for dx, dz in (np.argwhere(structure[0]) - 1).tolist():
        upper = above[max(-dx, 0) : height - max(dx, 0), max(-dz, 0) : width - max(dz, 0)]
        lower = below[max(dx, 0) : height - max(-dx, 0), max(dz, 0) : width - max(-dz, 0)]
        both = (upper >= 0) & (lower > 0)
        pairs.append(np.unique(np.stack([upper[both], lower[both] - 1], axis=1), axis=0))
    return [(one, other) for one, other in np.unique(np.concatenate(pairs), axis=0).tolist()]
