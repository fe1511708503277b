"""Reader of masks: pictures whose samples are salt or not, or the class of each pixel."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .pictures import read_samples


def read_mask(path: str | os.PathLike[str]) -> tuple[npt.NDArray[np.bool_], int]:
    """Read a mask of one page: 0 for background, and 1, 255 or 65535 for salt.

    Args:
        path: file in one of the formats of `read_picture`, gray.

    Returns:
        H W, True for salt; and the value of salt, 0 without salt. 255 stands for the white of any number of bits.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if the file is damaged, no picture, or not gray, or holds another value, or two for salt.
    """
    samples = read_samples(path, None, to_gray=False)
    mask, salt = mask_of(samples.values, str(path))
    if samples.inverted:
        mask, salt = ~mask, 255
    return mask, salt * 255 if samples.bits == 1 else min(salt, 255)


def mask_of(values: npt.NDArray[Any], where: str) -> tuple[npt.NDArray[np.bool_], int]:
    """Return where the samples of a mask are salt, and the value of salt, 0 without salt.

    Raises:
        ValueError: if `values` holds others than 0 and one of 1, 255 and 65535; `where` names the file.
    """
    salt = values.max().item() if values.size else 0
    mask = values == salt if salt else np.zeros(values.shape, np.bool_)
    if salt not in (0, 1, 255, 65535) or not (mask | (values == 0)).all():
        found = np.unique(values)
        listed = ", ".join(f"{value:g}" for value in found[:6].tolist()) + (", ..." if len(found) > 6 else "")
        raise ValueError(
            f"{where} must hold 0 for background and one of 1, 255 and 65535 for salt, got the values {listed}: "
            "write masks with two values"
        )
    return mask, int(salt)


def read_labels(path: str | os.PathLike[str], labels: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    """Read a mask of one page that holds several classes.

    Args:
        path: file in one of the formats of `read_picture`, gray.
        labels: class, 0 to 255, of each value that the samples may have.

    Returns:
        H W, the class of each pixel.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if the file is damaged, no picture, or not gray; if it stores white as 0, or holds another value.
    """
    samples = read_samples(path, None, to_gray=False)
    if samples.inverted:
        raise ValueError(
            f"{path} stores white as 0, so a value of its samples is not its gray level: save it with black as 0"
        )
    return labels_of(samples.values, labels, str(path))


def labels_of(values: npt.NDArray[Any], labels: Mapping[int, int], where: str) -> npt.NDArray[np.uint8]:
    """Return the class of each sample.

    Raises:
        ValueError: if a sample has no class; `where` names the file.
    """
    result, known = np.zeros(values.shape, np.uint8), np.zeros(values.shape, np.bool_)
    for value, label in labels.items():
        same = values == value
        result[same], known[same] = label, True
    if known.all():
        return result
    found, wanted = np.unique(values), sorted(labels)
    listed = ", ".join(f"{value:g}" for value in found[:6].tolist()) + (", ..." if len(found) > 6 else "")
    raise ValueError(
        f"{where} must hold the values {', '.join(map(str, wanted[:6]))}{', ...' if len(wanted) > 6 else ''} of the "
        f"classes, got {listed}: pass classes as a table of all values, such as {{0: 0, 128: 1, 255: 2}}, and as "
        "ignore_index the value of unknown pixels"
    )


def check_one_meaning(salt: Mapping[str, int]) -> None:
    """Raise ValueError if some masks mark salt by 1 and others by 255 or 65535, which may be unknown pixels there.

    Args:
        salt: by file, the value of salt, 0 without salt.
    """
    ones = [name for name, value in salt.items() if value == 1]
    whites = [name for name, value in salt.items() if value > 1]
    if ones and whites:
        raise ValueError(
            f"masks must mark salt by one value, got 1 in {ones[0]} and {salt[whites[0]]} in {whites[0]}: write 0 and "
            "255 in every mask (if 255 marks unknown pixels, decide for each whether it is salt)"
        )
