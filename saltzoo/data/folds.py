"""Folds for cross-validation, stratified by how much of a tile is salt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def coverage_classes(coverage: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The coverage class of each tile: 0 without salt, else k where (k - 1) / 10 < coverage <= k / 10.

    Args:
        coverage: fraction of salt in each tile, N values in 0..1, as in `Tiles.coverage`.

    Returns:
        N classes in 0..10.

    Raises:
        ValueError: if `coverage` is not one-dimensional, or a value is not in 0..1.

    Example:
        >>> coverage_classes([0.0, 0.001, 0.1, 0.11, 1.0]).tolist()
        [0, 1, 1, 2, 10]
    """
    values = np.asarray(coverage)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    if values.ndim != 1:
        raise ValueError(f"coverage must have shape (N,), got {values.shape}: give one fraction a tile")
    wrong = ~((values >= 0) & (values <= 1))  # negated, so that NaN is wrong too
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(
            f"coverage must be in 0..1, got {values[first]} at position {first}: "
            "give fractions (Tiles.coverage), not percent or pixels"
        )
    # Comparing with edges in the values' own precision keeps k / 10 in class k; ceil(10 * value) does not.
    edges = (np.arange(11) / 10).astype(values.dtype)
    return np.searchsorted(edges, values, side="left").astype(np.int64)


def folds_by_id(ids: Sequence[str], *, n_folds: int = 5) -> npt.NDArray[np.int64]:
    """Return the fold in which each tile is validated, as a function of its id alone.

    Order, other tiles and masks do not matter: a tile that is added or corrected moves no other.

    Args:
        ids: names of the tiles, as in `Tiles.ids`.
        n_folds: number of folds, at least 2.

    Returns:
        N folds in 0..n_folds - 1: the first 8 hexadecimal digits of SHA-256 of the id, modulo `n_folds`.

    Raises:
        ValueError: if `n_folds` is below 2.

    Example:
        >>> folds_by_id(["a", "b", "c"]).tolist()
        [0, 1, 3]
    """
    if n_folds < 2:
        raise ValueError(f"n_folds must be at least 2, got {n_folds}")
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in ids]
    return np.array([int(digest[:8], 16) % n_folds for digest in digests], dtype=np.int64)


def stratified_folds(coverage: npt.ArrayLike, *, n_folds: int = 5, seed: int = 0) -> npt.NDArray[np.int64]:
    """The fold in which each tile is validated.

    Sizes of folds differ by at most 1, and so do the counts of each coverage class in them. The same
    coverages in the same order, `n_folds` and `seed` give the same folds on every platform.

    Args:
        coverage: fraction of salt in each tile, N values in 0..1.
        n_folds: number of folds, 2..N.
        seed: which of the many such splits, 0 or more.

    Returns:
        N folds in 0..n_folds - 1.

    Raises:
        ValueError: if an argument is outside what is said above.

    Example:
        >>> folds = stratified_folds([0, 0, 0, 0, 0.5, 0.5], n_folds=2)
        >>> train, valid = folds != 0, folds == 0
        >>> int(train.sum()), int(valid.sum())
        (3, 3)
    """
    classes = coverage_classes(coverage)
    count = len(classes)
    if not 2 <= n_folds <= count:
        raise ValueError(f"n_folds must be between 2 and the number of tiles ({count}), got {n_folds}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    # Sorting by random doubles, not Generator.permutation, whose algorithm numpy may change.
    shuffle = np.random.Generator(np.random.PCG64(seed)).random(count)
    order = np.lexsort((shuffle, classes))  # by class, at random within a class
    # Dealt out like cards: any run of the order, so each class and the whole, is spread evenly.
    folds = np.empty(count, dtype=np.int64)
    folds[order] = np.arange(count) % n_folds
    return folds
