"""Reader of folders of pictures and masks of any sizes, which it cuts into tiles."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..seismic.masks import check_one_meaning, read_labels, read_mask
from ..seismic.pictures import SUFFIXES, as_uint8, read_picture
from ._label_table import label_table
from .tiles import Tiles

T = TypeVar("T", bound=np.generic)


def read_folder(
    images: str | os.PathLike[str],
    masks: str | os.PathLike[str] | None = None,
    *,
    size: int = 101,
    stride: int | None = None,
    value_range: tuple[float, float] | None = None,
    classes: int | Mapping[int, int] | None = None,
    ignore_index: int | None = None,
) -> Tiles:
    """Read a folder of gray pictures, and one of their masks, and cut them into square tiles.

    The mask of `images/line7.tif` is `masks/line7.png`, or any other suffix: the names before the suffix are the same.
    Files of other kinds, and folders within, are left out. Tiles begin every `stride` pixels from the upper left
    corner; where a picture does not end with a tile, a last one at its edge overlaps the one before, so that every
    pixel is in a tile.

    An id is the name of the picture and the row and column of its upper left pixel: `line7_r000101_c000202`. For
    cross-validation, keep the tiles of a picture together: `folds_by_id(tiles.ids, group=picture_of)`.

    Args:
        images: folder of pictures, in the formats of `saltzoo.seismic.read_picture`.
        masks: folder of masks, 0 for background and 1, 255 or 65535 for salt, or with `classes`; None for unlabelled
            tiles.
        size: height and width of a tile, pixels, at most those of the smallest picture.
        stride: pixels between neighbouring tiles, 1 to `size`; None for `size`.
        value_range: samples (black, white) of all pictures, as in `saltzoo.seismic.read_picture`.
        classes: number K of classes in the masks, whose samples are then 0 to K - 1; or the class of each sample, such
            as {0: 0, 128: 1, 255: 2}. None for masks of salt.
        ignore_index: sample of unknown pixels in the masks, such as 255, which tiles keep; it needs `classes`.

    Returns:
        Tiles without depths, sorted by the name of the picture, then by row and column. Masks are bool, or uint8 with
        `classes`. Pictures of more than 8 bits are rounded to 8.

    Raises:
        OSError: if a folder or file cannot be opened, or `images` holds no picture.
        TypeError: if `size`, `stride`, `ignore_index` or a class is no whole number, or `value_range` no pair of
            numbers.
        ValueError: if a picture or mask cannot be read, or its samples have no clear meaning or no class; if two
            pictures have one name before the suffix; if the names or sizes of pictures and masks differ; if a picture
            is smaller than a tile; if `stride` is not in 1..`size`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (150, 101)).save(f"{folder}/line7.png")
        ...     read_folder(folder).ids
        ('line7_r000000_c000000', 'line7_r000000_c000049')
    """
    stride = size if stride is None else stride
    _check_sizes(size, stride)
    labels = _labels(classes, ignore_index, masks)
    pictures = _files_by_name(Path(images))
    if not pictures:
        raise FileNotFoundError(f"{images} holds no picture: give a folder of files {', '.join(sorted(SUFFIXES))}")
    mask_files = None if masks is None else _files_by_name(Path(masks))
    if mask_files is not None:
        _check_same_names(pictures, mask_files, f"{images}", f"{masks}")
    ids: list[str] = []
    parts: list[npt.NDArray[np.uint8]] = []
    mask_parts: list[npt.NDArray[np.bool_ | np.uint8]] = []
    salt_of: dict[str, int] = {}
    for name, path in pictures.items():
        picture = as_uint8(read_picture(path, value_range=value_range))
        corners = _corners(picture.shape, size, stride, path)
        ids += [f"{name}_r{row:06d}_c{column:06d}" for row, column in corners]
        parts += _cut(picture, corners, size)
        if mask_files is not None:
            mask = _read_mask(mask_files[name], labels, salt_of)
            if mask.shape != picture.shape:
                raise ValueError(
                    f"{mask_files[name]} must have the size of {path}, {picture.shape[0]} x {picture.shape[1]}, got "
                    f"{mask.shape[0]} x {mask.shape[1]}: draw the mask on this picture"
                )
            mask_parts += _cut(mask, corners, size)
    check_one_meaning(salt_of)
    return Tiles(tuple(ids), np.stack(parts), np.stack(mask_parts) if mask_parts else None)


def picture_of(id_: str) -> str:
    """Return the name of the picture from which `read_folder` cut a tile; an id of another kind is returned as it is.

    Example:
        >>> picture_of("line7_r000101_c000202"), picture_of("synthetic_0_000017")
        ('line7', 'synthetic_0_000017')
    """
    return re.sub(r"_r\d{6,}_c\d{6,}\Z", "", id_)


def _labels(classes: int | Mapping[int, int] | None, ignore_index: int | None, masks: object) -> dict[int, int] | None:
    """Return the class of each sample of a mask, or None for masks of salt."""
    if classes is not None and masks is None:
        raise ValueError("classes are those of masks, got masks=None: give the folder of masks, or leave classes out")
    if classes is None and ignore_index is not None:
        raise ValueError(f"ignore_index={ignore_index} needs classes: pass classes=2 for background and salt")
    return None if classes is None else label_table(classes, ignore_index)


def _read_mask(path: Path, labels: Mapping[int, int] | None, salt_of: dict[str, int]) -> npt.NDArray[Any]:
    """Read a mask of classes, or of salt; the value of salt is then added to `salt_of`."""
    if labels is not None:
        return read_labels(path, labels)
    mask, salt_of[str(path)] = read_mask(path)
    return mask


def _check_sizes(size: int, stride: int) -> None:
    for name, value in {"size": size, "stride": stride}.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be a whole number, got {value!r}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if not 1 <= stride <= size:
        raise ValueError(f"stride must be 1 to size ({size}), so that every pixel is in a tile, got {stride}")


def _files_by_name(folder: Path) -> dict[str, Path]:
    """Return the pictures in a folder by their names before the suffix, sorted."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            raise ValueError(
                f"{found[path.stem].name} and {path.name} in {folder} have one name before the suffix, {path.stem!r}: "
                "rename one"
            )
        found[path.stem] = path
    return dict(sorted(found.items()))


def _check_same_names(pictures: dict[str, Path], masks: dict[str, Path], images_at: str, masks_at: str) -> None:
    bare = [name for name in pictures if name not in masks]
    orphans = [name for name in masks if name not in pictures]
    if bare:
        raise ValueError(
            f"{len(bare)} of {len(pictures)} pictures in {images_at} have no mask in {masks_at} (the first: {bare[0]}"
            "): add masks of the same names, or read unlabelled pictures with masks=None"
        )
    if orphans:
        raise ValueError(
            f"{len(orphans)} of {len(masks)} masks in {masks_at} have no picture in {images_at} (the first: "
            f"{orphans[0]}): add the pictures, or delete the masks"
        )


def _corners(shape: tuple[int, ...], size: int, stride: int, path: Path) -> list[tuple[int, int]]:
    if min(shape) < size:
        raise ValueError(
            f"size must be at most the height and width of every picture, got {size} and {path} of {shape[0]} x "
            f"{shape[1]}: pass a smaller size, or leave this picture out"
        )
    rows, columns = (sorted({*range(0, length - size, stride), length - size}) for length in shape)
    return [(row, column) for row in rows for column in columns]


def _cut(picture: npt.NDArray[T], corners: list[tuple[int, int]], size: int) -> list[npt.NDArray[T]]:
    return [picture[row : row + size, column : column + size] for row, column in corners]
