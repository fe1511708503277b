"""Samples of a file as stored: what the format says about their bits, sign, pages, colours and transparency."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, by Pillow's names. PPM includes PGM, PBM and PFM."""

_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombWarning,  # an error where a user's filter says so
    Image.DecompressionBombError,
)
"""What Pillow raises for files that are damaged or no pictures."""


@dataclass(frozen=True)
class Samples:
    """Samples of one gray picture as stored.

    Attributes:
        values: H W.
        bits: bits of an unsigned sample, whose white is 2^bits - 1; None if the format defines no white.
        inverted: whether the smallest sample is white.
        difference: largest difference between the colours of a pixel; above 0, the values are their luminance.
    """

    values: npt.NDArray[Any]
    bits: int | None
    inverted: bool = False
    difference: int = 0


def read_image_samples(path: str | os.PathLike[str], page: int | None, *, to_gray: bool) -> Samples:
    """Read one page of a gray picture; with `to_gray`, the luminance of one in colours.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if the file is damaged or no picture, has too many pixels, is in colours without `to_gray`, or
            partly transparent, or has several pages and `page` is None, or no such page.
    """
    try:
        # From a path, Pillow maps a TIFF file into memory, and version 13.0 scrambles one that is stored on its side.
        with open(path, "rb") as file, Image.open(file, formats=FORMATS) as picture:
            pages = _count_pages(picture)
            if page is None and pages == 1:
                page = 0
            if page is not None and 0 <= page < pages:
                picture.seek(page)
                layout = _Layout.of(picture)
                picture.load()
                # A camera or scanner may store the picture on its side. Pillow turns TIFF files itself.
                turned = picture if layout.name == "TIFF" else ImageOps.exif_transpose(picture)
                return _samples(turned, layout, to_gray=to_gray)
    except _Refusal as refusal:
        raise ValueError(f"{path} {refusal}") from None
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(
            f"{path} has more than {limit} pixels, the most that one picture may have: cut it into several files"
        ) from error
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # by the system, and it names the file
        what = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(
            f"{path} cannot be read as a picture ({what}): give a complete file, BMP, GIF, JPEG, PNG, PPM, WEBP, or "
            "TIFF with samples of at most 32 bits"
        ) from error
    if page is None:
        raise ValueError(
            f"{path} has {pages} pages: pass page=0 to page={pages - 1}, or save one page as a file of its own"
        )
    raise ValueError(f"page of {path} must be in 0..{pages - 1}, got {page}")


class _Refusal(Exception):
    """What is wrong with a file that can be read."""


@dataclass(frozen=True)
class _Layout:
    """What a file says about its samples beyond Pillow's mode.

    Attributes:
        name: format.
        signed: whether samples are signed.
        bits: bits of a sample of a TIFF file, 0 for other formats.
        cut: whether Pillow reads only 8 of 16 bits.
        white_is_least: whether the smallest sample is white, and Pillow leaves it so.
    """

    name: str
    signed: bool
    bits: int
    cut: bool
    white_is_least: bool

    @classmethod
    def of(cls, picture: Image.Image) -> _Layout:
        name = picture.format or ""
        if not isinstance(picture, TiffImageFile):
            return cls(name, signed=False, bits=0, cut=_is_cut(picture), white_is_least=False)
        tags = picture.tag_v2
        stored, read = int(tags.get(277, 1)), len(picture.getbands())
        if stored != read:
            raise _Refusal(f"has {stored} samples a pixel, of which {read} can be read: save it in gray")
        bits = tags.get(258, (1,))
        return cls(
            name,
            signed=tags.get(339, (1,))[0] == 2,
            bits=int(bits[0]),
            cut=int(bits[0]) > 8 and picture.mode[0] not in "IF",
            white_is_least=tags.get(262) == 0 and picture.mode[0] in "IF",
        )


def _is_cut(picture: Image.Image) -> bool:
    if not isinstance(picture, ImageFile.ImageFile) or picture.mode[0] in "IF" or not picture.tile:
        return False
    # A PNG file's raw mode, such as "RGB;16B"; a PPM file's raw mode and white. Before Pillow 11 a tile has no names.
    given = picture.tile[0][3]
    raw, white = (*given, 0, 0)[:2] if isinstance(given, tuple) else (given, 0)
    if picture.format == "PPM":
        return isinstance(white, int) and white > 255
    return picture.format == "PNG" and ";16" in str(raw)


def _count_pages(picture: Image.Image) -> int:
    count = 1
    try:
        while True:
            picture.seek(count)
            count += 1
    except EOFError:
        picture.seek(0)
    return count


def _samples(picture: Image.Image, layout: _Layout, *, to_gray: bool) -> Samples:
    mode = picture.mode
    if layout.cut:
        raise _Refusal(f"has 16-bit samples in the mode {mode}, of which 8 bits can be read: save it in gray, 16 bits")
    if mode == "F":
        return Samples(np.asarray(picture), None, layout.white_is_least)
    if mode.startswith("I"):
        values = np.asarray(picture)
        wide = mode == "I" and layout.name == "TIFF"
        if wide:
            return Samples(values if layout.signed else values.view(np.uint32), None, layout.white_is_least)
        values = values.astype(np.uint16)
        if (values == picture.info.get("transparency", -1)).any():
            raise _Refusal("is partly transparent: fill the transparent pixels with gray")
        return Samples(values, 12 if layout.bits == 12 else 16, layout.white_is_least)
    plain = "transparency" not in picture.info
    if mode == "1" and plain:
        return Samples(np.asarray(picture).astype(np.uint8), 1)
    if mode == "L" and plain:
        values = np.asarray(picture)
        return Samples(values.view(np.int8), None) if layout.signed else Samples(values, 8)
    if mode not in ("1", "L", "P", "LA", "La", "PA", "RGB", "RGBA", "RGBa"):
        raise _Refusal(f"is in the colour space {mode}: save it in gray")
    return _of_colours(np.asarray(picture if mode == "RGB" and plain else picture.convert("RGBA")), to_gray=to_gray)


def _of_colours(colours: npt.NDArray[np.uint8], *, to_gray: bool) -> Samples:
    """H W 3, or H W 4 with opacity -> gray samples."""
    if colours.shape[-1] == 4 and (colours[..., 3] < 255).any():
        raise _Refusal("is partly transparent: fill the transparent pixels with gray")
    red, green, blue = (colours[..., channel] for channel in range(3))
    if (red == green).all() and (red == blue).all():
        return Samples(np.ascontiguousarray(red), 8)
    if not to_gray:
        raise _Refusal(
            "is in colours: save it in gray, and undo a colour map by its inverse, because the luminance of its "
            "colours is no amplitude; or take the luminance with to_gray=True"
        )
    channels = colours[..., :3]
    difference = int((channels.max(-1) - channels.min(-1)).max())
    luminance = np.asarray(Image.fromarray(np.ascontiguousarray(channels)).convert("L"))
    return Samples(luminance, 8, difference=difference)
