"""The class that each sample of a mask stands for."""

from __future__ import annotations

from collections.abc import Mapping

from .._checks import check_ignore_index


def label_table(classes: int | Mapping[int, int], ignore_index: int | None) -> dict[int, int]:
    """Return the label of each sample.

    Args:
        classes: number K of classes, whose samples are 0 to K - 1; or the class of each sample.
        ignore_index: sample of unknown pixels, which stays as it is; None if there is none.

    Raises:
        TypeError: if a number is no whole one.
        ValueError: if there are fewer than two classes, a class is not 0 to 255, or `ignore_index` is one of them or
            is no value of 8 bits.

    Example:
        >>> label_table({0: 0, 128: 1, 200: 1}, 255)
        {0: 0, 128: 1, 200: 1, 255: 255}
    """
    check_ignore_index(ignore_index)
    table = classes if isinstance(classes, Mapping) else None
    for number in [classes] if table is None else [*table, *table.values()]:
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"classes must be a whole number, or a table of whole numbers, got {number!r}")
    if isinstance(classes, int):
        table = {c: c for c in range(min(classes, 257))}
    labels = dict(table or {})
    found = set(labels.values())
    if not 2 <= len(found) <= 256 or min(found) < 0 or max(found) > 255:
        raise ValueError(
            f"classes must be the number of classes, 2 to 256, or a table of two or more, each 0 to 255, got "
            f"{classes}: for masks of salt alone leave it out"
        )
    if ignore_index is not None:
        if ignore_index in labels or ignore_index in found or not 0 <= ignore_index <= 255:
            raise ValueError(
                f"ignore_index must be 0 to 255 and neither a class nor a sample of one, got {ignore_index} and the "
                f"samples {sorted(labels)}: mark unknown pixels by another value"
            )
        labels[ignore_index] = ignore_index
    return labels
