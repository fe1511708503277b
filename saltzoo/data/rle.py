"""Run-length encoding of masks as in the TGS challenge: pixels are counted from 1, down the columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NoReturn, overload

import numpy as np
import numpy.typing as npt

_CHUNK_PIXELS = 2**24
"""Pixels that are encoded or decoded at once, which bounds the memory beside the masks."""


@overload
def rle_encode(masks: npt.NDArray[np.bool_]) -> str | list[str]: ...
@overload
def rle_encode(masks: Sequence[npt.NDArray[np.bool_]]) -> list[str]: ...


def rle_encode(masks: npt.NDArray[np.bool_] | Sequence[npt.NDArray[np.bool_]]) -> str | list[str]:
    """Return the runs of salt of one mask, or of each mask of a batch.

    A text holds pairs of numbers, the first pixel of a run and the number of its pixels: "1 3 10 2" marks the pixels
    1, 2, 3, 10 and 11. Pixel 1 is the upper left one, pixel 2 lies below it. A mask without salt gives an empty text.

    Args:
        masks: H W, or N H W, bool, True for salt.

    Returns:
        Text of the one mask, or a list of N texts.

    Raises:
        TypeError: if the masks are not boolean.
        ValueError: if their shape is another.

    Example:
        >>> rle_encode(np.array([[True, False, True], [True, False, False]]))
        '1 2 5 1'
        >>> rle_encode(np.zeros((2, 101, 101), bool))
        ['', '']
    """
    if isinstance(masks, Sequence) and not masks:
        return []
    array = np.asarray(masks)
    if array.dtype != np.bool_:
        raise TypeError(f"masks must be bool, got {array.dtype}: compare with a threshold, such as masks > 0")
    if array.ndim not in (2, 3) or 0 in array.shape[-2:]:
        raise ValueError(f"masks must have shape (H, W) or (N, H, W), H and W above 0, got {array.shape}: reshape them")
    batch = array[None] if array.ndim == 2 else array
    pixels = batch.shape[1] * batch.shape[2]
    # Numbers are looked up as texts: a mask repeats them, and so do all masks of one size.
    words = np.array([str(number) for number in range(pixels + 1)], dtype=object)
    step = max(1, _CHUNK_PIXELS // pixels)
    texts = [text for start in range(0, len(batch), step) for text in _encode(batch[start : start + step], words)]
    return texts[0] if array.ndim == 2 else texts


def _encode(masks: npt.NDArray[np.bool_], words: npt.NDArray[np.object_]) -> list[str]:
    count, height, width = masks.shape
    row = height * width + 2  # one pixel without salt before and after each mask
    flat = np.zeros((count, row), np.bool_)
    flat[:, 1:-1] = masks.transpose(0, 2, 1).reshape(count, -1)
    line = flat.reshape(-1)
    # A change after position p of a mask: a run begins at pixel p + 1, or ends at pixel p.
    changes = np.flatnonzero(line[1:] != line[:-1])
    tile, first = np.divmod(changes[::2], row)
    lengths = changes[1::2] - changes[::2]
    pairs = words[np.stack([first + 1, lengths], axis=1)].reshape(-1).tolist()
    bounds = (2 * np.searchsorted(tile, np.arange(count + 1))).tolist()
    return [" ".join(pairs[start:stop]) for start, stop in pairwise(bounds)]


def rle_decode(runs: str | Sequence[str], shape: tuple[int, int] = (101, 101)) -> npt.NDArray[np.bool_]:
    """Return the mask of one text of `rle_encode`, or the masks of several.

    Args:
        runs: text of a mask, or N texts: pairs of the first pixel, from 1 down the columns, and the number of pixels,
            in ascending order. White space alone is a mask without salt.
        shape: height and width of a mask, pixels.

    Returns:
        Mask, H W bool, or masks, N H W bool; True for salt.

    Raises:
        TypeError: if `runs` is neither a text nor a sequence of texts.
        ValueError: if a number is not whole or below 1, a first pixel has no length, a run leaves the mask, or runs
            overlap or are out of order.

    Example:
        >>> rle_decode("1 2 5 1", (2, 3)).astype(int)
        array([[1, 0, 1],
               [1, 0, 0]])
        >>> rle_decode("1 2 2 1", (2, 3))
        Traceback (most recent call last):
        ...
        ValueError: runs must be in ascending order and apart, got pixel 2 after a run to pixel 2: sort or merge them
    """
    if not _is_size(shape):
        raise ValueError(f"shape must be (height, width), each at least 1, got {shape}: give the size of the masks")
    height, width = shape
    single = isinstance(runs, str)
    texts = [runs] if isinstance(runs, str) else list(runs)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"runs must be a text or a sequence of texts, got a {type(text).__name__} at position {position}: "
                "give '' for a mask without salt"
            )
    masks = np.empty((len(texts), height, width), np.bool_)
    step = max(1, _CHUNK_PIXELS // (height * width))
    for start in range(0, len(texts), step):
        part = texts[start : start + step]
        masks[start : start + step] = _decode(part, height, width, first=None if single else start)
    return masks[0] if single else masks


def _is_size(shape: object) -> bool:
    """Return whether a value is a pair of whole numbers of at least 1."""
    return (
        isinstance(shape, Sequence)
        and len(shape) == 2
        and all(isinstance(side, int | np.integer) and side >= 1 for side in shape)
    )


def _decode(texts: Sequence[str], height: int, width: int, *, first: int | None) -> npt.NDArray[np.bool_]:
    """Return the masks of texts. `first`: position of the first one, for errors; None for the only one."""
    pixels = height * width
    words = [text.split() for text in texts]
    counts = np.array([len(part) for part in words])
    for index in np.flatnonzero(counts % 2)[:1]:
        _refuse(
            f"must hold pairs of a first pixel and a length, got {counts[index]} numbers: add the last length",
            index,
            first,
        )
    line = [word for part in words for word in part]
    joined = "".join(line)
    if line and not (joined.isascii() and joined.isdigit() and max(map(len, line)) < 19):
        wrong = next(k for k, word in enumerate(line) if not (word.isascii() and word.isdigit() and len(word) < 19))
        index = int(np.searchsorted(np.cumsum(counts), wrong, side="right"))
        _refuse(f"must hold whole numbers, separated by spaces, got {line[wrong]!r:.40}: correct it", index, first)
    numbers = np.array(list(map(int, line)), dtype=np.int64).reshape(-1, 2)
    tile = np.repeat(np.arange(len(texts)), counts // 2)
    _check_runs(numbers, tile, pixels, first)
    begin = tile * pixels + numbers[:, 0] - 1  # positions in the line of all masks
    edges = np.stack([begin, begin + numbers[:, 1]], axis=1).reshape(-1)
    lengths = np.diff(edges, prepend=0, append=len(texts) * pixels)  # background, salt, background, ...
    salt = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return salt.reshape(-1, width, height).transpose(0, 2, 1)


def _check_runs(numbers: npt.NDArray[np.int64], tile: npt.NDArray[np.int64], pixels: int, first: int | None) -> None:
    starts, lengths = numbers[:, 0], numbers[:, 1]
    wrong = (starts < 1) | (lengths < 1) | (starts > pixels) | (lengths > pixels - starts + 1)
    for index in np.flatnonzero(wrong)[:1]:
        _refuse(
            f"must stay within pixels 1 to {pixels}, with lengths of at least 1, got '{starts[index]} {lengths[index]}'"
            ": check the shape of the mask, and that pixels are counted from 1",
            tile[index],
            first,
        )
    ends = starts + lengths - 1  # last pixel of each run
    crossed = (tile[1:] == tile[:-1]) & (starts[1:] <= ends[:-1])
    for index in np.flatnonzero(crossed)[:1]:
        _refuse(
            f"must be in ascending order and apart, got pixel {starts[index + 1]} after a run to pixel {ends[index]}: "
            "sort or merge them",
            tile[index],
            first,
        )


def _refuse(what: str, index: int | np.integer, first: int | None) -> NoReturn:
    where = "runs" if first is None else f"runs at position {first + int(index)}"
    raise ValueError(f"{where} {what}")
