"""Pictures of tiles and masks as arrays, without a plotting library."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ._checks import check_counts
from ._files import whole_file

Color = tuple[int, int, int]
Picture = npt.NDArray[np.uint8]

SALT: Color = (255, 128, 0)
TRUTH: Color = (0, 200, 255)
UNKNOWN: Color = (255, 255, 255)
CLASSES: tuple[Color, ...] = (
    (0, 0, 0),
    SALT,
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def overlay(
    image: Picture,
    mask: npt.NDArray[Any],
    *,
    truth: npt.NDArray[Any] | None = None,
    opacity: float = 0.4,
) -> Picture:
    """Return a gray tile with its mask in orange and, if given, the outline of the true mask in blue.

    Args:
        image: H W, uint8.
        mask: H W, bool, or probabilities in 0..1.
        truth: H W, bool.
        opacity: opacity of the orange where the mask is 1.

    Returns:
        H W 3, uint8.

    Raises:
        ValueError: if the shapes differ, the image is not uint8, or the mask or the opacity goes beyond 0..1.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"image must be uint8, got {image.dtype}: scale it to 0..255")
    if mask.size and not (mask.min() >= 0 and mask.max() <= 1):  # NaN fails too
        raise ValueError(
            f"mask must be in 0..1, got {mask.min()} to {mask.max()}: for a mask of 0 and 255 give mask > 0"
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be in 0..1, got {opacity}")
    if image.ndim != 2 or mask.shape != image.shape or (truth is not None and truth.shape != image.shape):
        shapes = [array.shape for array in (image, mask, truth) if array is not None]
        raise ValueError(f"image, mask and truth must have one shape H W, got {shapes}")
    alpha = opacity * np.asarray(mask, dtype=np.float32)[..., None]
    picture = (image[..., None] * (1 - alpha) + np.array(SALT, dtype=np.float32) * alpha).round().astype(np.uint8)
    if truth is not None and truth.size:
        picture[_outline(truth.astype(bool))] = TRUTH
    return picture


def overlay_labels(
    image: Picture, labels: npt.NDArray[np.uint8], *, ignore_index: int | None = None, opacity: float = 0.4
) -> Picture:
    """Return a gray tile with a colour for each class but 0, and white where the class is unknown.

    Args:
        image: H W, uint8.
        labels: H W, uint8, class of each pixel. Class 1 is orange, as salt is in `overlay`.
        ignore_index: value in the labels of unknown pixels; None if there is none.
        opacity: opacity of the colours.

    Returns:
        H W 3, uint8.

    Raises:
        ValueError: if the shapes differ, an array is not uint8, or the opacity goes beyond 0..1.
    """
    for name, array in {"image": image, "labels": labels}.items():
        if array.dtype != np.uint8 or array.ndim != 2 or array.shape != image.shape:
            raise ValueError(f"{name} must be H W uint8, both of one shape, got {array.shape} {array.dtype}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be in 0..1, got {opacity}")
    colors = np.array([_class_color(c) for c in range(256)], np.float32)
    alpha = np.full((256, 1), opacity, np.float32)
    alpha[0] = 0
    if ignore_index is not None and 0 <= ignore_index <= 255:
        colors[ignore_index], alpha[ignore_index] = UNKNOWN, opacity
    blended = image[..., None] * (1 - alpha[labels]) + colors[labels] * alpha[labels]
    return blended.round().astype(np.uint8)


def _class_color(label: int) -> Color:
    """Return the colour of a class: those of Okabe and Ito, which the colour-blind can tell apart, then any hue."""
    if label < len(CLASSES):
        return CLASSES[label]
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.8, 0.9)  # the golden angle: neighbours are far apart
    return round(red * 255), round(green * 255), round(blue * 255)


def contact_sheet(pictures: Sequence[Picture], *, columns: int, scale: int = 2, gap: int = 4) -> Picture:
    """Return one picture, uint8, of pictures of one size in rows on white.

    Args:
        pictures: pictures H W 3, uint8.
        columns: pictures in a row.
        scale: side in the sheet of one pixel of a picture.
        gap: white pixels between pictures.

    Raises:
        ValueError: if there are no pictures, they are not uint8, H W 3, of one size, columns or scale is below 1, or
            gap below 0.
    """
    kinds = {(picture.shape, picture.dtype) for picture in pictures}
    if len(kinds) != 1 or pictures[0].shape[2:] != (3,) or pictures[0].dtype != np.uint8:
        given = ", ".join(f"{shape} {dtype}" for shape, dtype in list(kinds)[:4]) or "none"
        raise ValueError(
            f"pictures must be one or more of one size, H W 3 uint8, got {given}: draw at least one, as `overlay` does"
        )
    check_counts(columns=columns, scale=scale)
    if gap < 0:
        raise ValueError(f"gap must be 0 or more pixels, got {gap}")
    height, width = pictures[0].shape[0] * scale, pictures[0].shape[1] * scale
    rows = -(-len(pictures) // columns)
    shape = (rows * (height + gap) + gap, min(columns, len(pictures)) * (width + gap) + gap, 3)
    sheet = np.full(shape, 255, dtype=np.uint8)
    for position, picture in enumerate(pictures):
        top = gap + position // columns * (height + gap)
        left = gap + position % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    return sheet


def save_png(picture: Picture, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write H W or H W 3, uint8, as a PNG file, and return its path. Missing folders are created.

    The file gets its name when it is complete, so an error leaves the old one.

    Args:
        picture: H W or H W 3, uint8.
        path: file.
        overwrite: whether a file that is there is replaced.

    Raises:
        FileExistsError: if the file is there and is not to be replaced.
        OSError: if the file cannot be written.
    """
    target = Path(path)
    with whole_file(target, overwrite=overwrite) as file:
        Image.fromarray(picture).save(file, format="PNG")
    return target


def _outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the pixels of the mask with a neighbour outside it; the tile's border does not count as outside."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside
