"""Folds for cross-validation: by the id of a tile, by mosaic, or stratified by the fraction of a tile that is salt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .mosaic import groups_of
from .neighbours import NeighbourPairs


def coverage_classes(coverage: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the coverage class of each tile: 0 without salt, else k where (k - 1) / 10 < coverage <= k / 10.

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
    wrong = ~((values >= 0) & (values <= 1))  # NaN fails both comparisons
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(
            f"coverage must be in 0..1, got {values[first]} at position {first}: "
            "give fractions (Tiles.coverage), not percent or pixels"
        )
    # Edges in the precision of the values put k / 10 into class k; ceil(10 * value) does not.
    edges = (np.arange(11) / 10).astype(values.dtype)
    return np.searchsorted(edges, values, side="left").astype(np.int64)


def folds_by_id(
    ids: Sequence[str], *, n_folds: int = 5, seed: int = 0, group: Callable[[str], str] | None = None
) -> npt.NDArray[np.int64]:
    """Return the fold in which each tile is validated, as a function of the id of that tile alone.

    Neither the other tiles, nor their order, nor the masks have an influence: a tile that was used for validation is
    still used for validation after tiles were added or masks were corrected. The fold is a hash modulo `n_folds`, so
    the sizes of the folds differ by chance.

    Args:
        ids: N names, as in `Tiles.ids`.
        n_folds: number of folds, 2 or more.
        seed: number of the split, 0 or more.
        group: function from an id to the name of its group, whose tiles come into one fold. `picture_of` keeps the
            tiles of a picture together, so that no tile is validated beside its neighbour. None: each tile alone.

    Returns:
        N folds in 0..n_folds - 1: the first 8 hexadecimal digits of the SHA-256 of the id, or of its group, in UTF-8
        (or, for a seed above 0, of "seed:id"), modulo `n_folds`.

    Raises:
        TypeError: if `ids` is not a sequence of strings, or `n_folds` is no whole number.
        ValueError: if `n_folds` or `seed` is out of its range.

    Example:
        >>> folds_by_id(["000e218f21", "003c477d7c", "00441f1cf2"]).tolist()
        [2, 4, 1]
    """
    names = [] if isinstance(ids, str) else list(ids)
    if isinstance(ids, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"ids must be a sequence of strings, got {ids!r:.80}: give Tiles.ids")
    if group is not None:
        names = [group(name) for name in names]
    _check_folds(n_folds)
    _check_seed(seed)
    prefix = f"{seed}:" if seed else ""
    digests = [hashlib.sha256(f"{prefix}{id_}".encode()).hexdigest() for id_ in names]
    return np.array([int(digest[:8], 16) % n_folds for digest in digests], dtype=np.int64)


def grouped_folds(
    pairs: NeighbourPairs, ids: Sequence[str] | None = None, *, n_folds: int = 5, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Return the fold in which each tile is validated, with no neighbour of it in another fold.

    All tiles that pairs connect, directly or through other tiles, are one group, and a group is in one fold. The
    largest group comes first, each into the fold that is smallest so far; groups of one size follow each other by a
    hash. With many tiles without neighbours, sizes of folds differ by at most 1.

    Neither the order of the tiles nor that of the pairs has an influence, but a fold depends on all pairs together.

    Args:
        pairs: pairs of N tiles, from `find_neighbours`. Search unlabelled tiles too: they connect labelled ones.
        ids: names of the tiles that are to be split, such as the labelled ones; None for all N.
        n_folds: number of folds, 2 or more.
        seed: number of the split, 0 or more.

    Returns:
        A fold in 0..n_folds - 1 for each of `ids`.

    Raises:
        TypeError: if `n_folds` is no whole number.
        ValueError: if a name is not among those of the pairs, or `n_folds` or `seed` is out of its range.

    Example:
        >>> pairs = NeighbourPairs(tuple("abcd"), *np.array([[0], [3], [0], [0], [2]]))
        >>> folds = grouped_folds(pairs, n_folds=2)
        >>> bool(folds[0] == folds[3]), bool(folds[1] == folds[2]), np.bincount(folds).tolist()
        (True, True, [2, 2])
    """
    _check_folds(n_folds)
    _check_seed(seed)
    names = pairs.ids if ids is None else tuple(ids)
    group_of = dict(zip(pairs.ids, groups_of(pairs).tolist(), strict=True))
    missing = [name for name in names if name not in group_of]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} ids were not searched for neighbours (the first: {missing[0]!r}): call "
            "find_neighbours with all tiles"
        )
    members: dict[int, list[str]] = {}
    for name in names:
        members.setdefault(group_of[name], []).append(name)
    digests = {key: hashlib.sha256(f"{seed}:{min(group)}".encode()).hexdigest() for key, group in members.items()}
    sizes, fold_of = [0] * n_folds, {}
    for key in sorted(members, key=lambda key: (-len(members[key]), digests[key])):
        fold_of[key] = fold = sizes.index(min(sizes))
        sizes[fold] += len(members[key])
    return np.array([fold_of[group_of[name]] for name in names], dtype=np.int64)


def stratified_folds(coverage: npt.ArrayLike, *, n_folds: int = 5, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the fold in which each tile is validated, with salt of all amounts in every fold.

    The sizes of two folds differ by at most 1, and so do their counts of each coverage class. The same coverages in
    the same order, `n_folds` and `seed` give the same folds on every platform.

    A fold depends on all tiles and on their order: one more tile, or one corrected mask, moves many others. Use this
    function to validate weights that were trained on its folds, and `folds_by_id` for new ones.

    Args:
        coverage: fraction of salt in each tile, N values in 0..1.
        n_folds: number of folds, 2..N. Without tiles, any number from 2.
        seed: number of the split, 0 or more.

    Returns:
        N folds in 0..n_folds - 1.

    Raises:
        TypeError: if `n_folds` is no whole number.
        ValueError: if an argument is out of its range.

    Example:
        >>> folds = stratified_folds([0, 0, 0, 0, 0.5, 0.5], n_folds=2)
        >>> train, valid = folds != 0, folds == 0
        >>> int(train.sum()), int(valid.sum())
        (3, 3)
    """
    _check_whole(n_folds)
    classes = coverage_classes(coverage)
    count = len(classes)
    if count == 1:
        raise ValueError("stratified_folds needs two or more tiles, got 1: add tiles, or use folds_by_id")
    if n_folds < 2 or (count and n_folds > count):
        raise ValueError(f"n_folds must be between 2 and the number of tiles ({count}), got {n_folds}")
    _check_seed(seed)
    # Sort by random doubles: numpy may change the algorithm of Generator.permutation.
    shuffle = np.random.Generator(np.random.PCG64(seed)).random(count)
    order = np.lexsort((shuffle, classes))  # by class, at random within a class
    # Tiles take turns in this order, so each class is spread evenly, and so is the whole.
    folds = np.empty(count, dtype=np.int64)
    folds[order] = np.arange(count) % n_folds
    return folds


def _check_whole(n_folds: int) -> None:
    if not isinstance(n_folds, int | np.integer):
        raise TypeError(f"n_folds must be a whole number, got {n_folds!r}")


def _check_folds(n_folds: int) -> None:
    _check_whole(n_folds)
    if n_folds < 2:
        raise ValueError(f"n_folds must be at least 2, got {n_folds}")


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
