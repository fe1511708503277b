"""open_survey: a seismic volume by its path."""

from __future__ import annotations

import os
from pathlib import Path

from .._checks import check_choice
from ._segy_formats import FORMATS
from ._segy_headers import ByteOrder
from .segy import open_segy
from .survey import Survey
from .zarr_store import is_zarr, open_zarr


def is_survey(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a file, or a folder of zarr."""
    return Path(path).is_file() or is_zarr(Path(path))


def open_survey(
    path: str | os.PathLike[str],
    *,
    iline: int | None = None,
    xline: int | None = None,
    sample_format: int | None = None,
    byte_order: ByteOrder | None = None,
) -> Survey:
    """Open a seismic volume or 2-D line. Headers are read, samples are not.

    SEG-Y files of revisions 0 to 2 are read in both byte orders, with traces in any order, missing ones, and more than
    one at a place, of which the first counts. Numbers of lines are searched in the header words 189 and 193, then in
    those of other writers; a file without a grid, whose traces a word numbers, is a 2-D line. Zarr arrays (inline,
    crossline, sample) are read with the extra `zarr`, and groups with one, such as MDIO 1.0: `amplitude`, 1-D
    coordinates named as its dimensions, `trace_mask`.

    Args:
        path: SEG-Y file, or folder of zarr.
        iline: first byte of the inline number in trace headers, from 1; 0 for a 2-D line; None to find it.
        xline: first byte of the crossline number; for a 2-D line, of the number of the trace; None to find it.
        sample_format: code of the sample format, 1, 2, 3, 5, 6, 8, 10, 11 or 16, instead of that of the file.
        byte_order: "big" or "little"; None to find it.

    Returns:
        A `Survey`.

    Raises:
        ImportError: if zarr is not installed and needed.
        OSError: if the file cannot be read.
        ValueError: if it is no volume, ends within a trace, is prestack, or no grid is found; if its samples are
            in another format or byte order than its headers say; if an option is wrong, or SEG-Y's options are given
            for zarr.

    Example:
        >>> open_survey("no_such_file.sgy")
        Traceback (most recent call last):
        ...
        FileNotFoundError: [Errno 2] No such file or directory: 'no_such_file.sgy'
    """
    if sample_format is not None:
        check_choice("sample_format", sample_format, FORMATS)
    if byte_order is not None:
        check_choice("byte_order", byte_order, ("big", "little"))
    path = Path(path)
    options = {"iline": iline, "xline": xline, "sample_format": sample_format, "byte_order": byte_order}
    if path.is_dir():
        if given := [name for name, value in options.items() if value is not None]:
            raise ValueError(f"{given[0]} must be None for zarr, got {options[given[0]]!r}: only SEG-Y files need it")
        if not is_zarr(path):
            raise ValueError(f"{path} must be a SEG-Y file or a folder of zarr, got a folder without zarr.json")
        return open_zarr(path)
    return open_segy(path, iline=iline, xline=xline, sample_format=sample_format, byte_order=byte_order)
