"""write_like and write_survey: a volume in the geometry of a survey, and a survey as a new file, slab by slab."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .new_segy import new_segy
from .segy import SegySource
from .segy_writer import segy_bytes, segy_like
from .survey import Survey
from .zarr_store import load_zarr
from .zarr_writer import zarr_like

SEGY_SUFFIXES = (".sgy", ".segy")
ZARR_SUFFIX = ".zarr"


class Volume(Protocol):
    """What slices like an array (inline, crossline, sample): numpy, a memory map, a survey."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of inlines, crosslines and samples."""

    def __getitem__(self, part: Any, /) -> Any:
        """Return a slice of inlines."""


class _Writer(Protocol):
    def write(self, first: int, values: npt.NDArray[np.generic]) -> None:
        """Write the samples of consecutive inlines."""


class SlabWriter:
    """Takes the inlines of a volume in any order, and knows which are still missing."""

    def __init__(self, writer: _Writer, survey: Survey, *, mask: bool) -> None:
        self._writer = writer
        self._shape = survey.shape
        self._mask = mask
        self.written: npt.NDArray[np.bool_] = np.zeros(len(survey.inlines), np.bool_)

    def write(self, first: int, values: npt.NDArray[Any]) -> None:
        """Write the samples of consecutive inlines.

        Args:
            first: index of the first of them.
            values: (inline, crossline, sample): floating point, or bool or whole numbers from 0 to 127 for a mask.

        Raises:
            ValueError: if they do not lie within the survey, or are of another kind.
        """
        rest = self._shape[1:]
        if values.ndim != 3 or values.shape[1:] != rest or not 0 <= first <= self._shape[0] - len(values):
            raise ValueError(
                f"values must be (inline, {rest[0]}, {rest[1]}) within {self._shape[0]} inlines, got {values.shape} "
                f"at {first}: give whole inlines of the survey"
            )
        if self._mask and (
            values.dtype.kind not in "biu" or (values.size and not 0 <= values.min() <= values.max() <= 127)
        ):
            raise ValueError(f"values of a mask must be bool or 0 to 127, got {values.dtype}: compare with a threshold")
        if not self._mask and values.dtype.kind != "f":
            raise ValueError(f"values must be floating point, got {values.dtype}: pass mask=True for a mask")
        self._writer.write(first, values)
        self.written[first : first + len(values)] = True


@contextmanager
def open_like(
    survey: Survey,
    path: str | os.PathLike[str],
    *,
    mask: bool = False,
    name: str | None = None,
    notes: Sequence[str] = (),
    overwrite: bool = False,
) -> Iterator[SlabWriter]:
    """Open a new volume in the geometry of a survey for writing, in parts and in any order.

    The file has a temporary name beside `path`, and is renamed at the end of the block.

    Args:
        survey: survey whose geometry the volume has.
        path: new file, .sgy or .segy for a SEG-Y survey, or new folder, .zarr.
        mask: whether the values are a mask, stored in 8 bits; otherwise they are float32.
        name: name of the array in a zarr store; None for "mask", or "probability".
        notes: lines of at most 76 characters for the text header of SEG-Y, or the attribute `notes` of zarr.
        overwrite: whether what is there is replaced.

    Yields:
        A `SlabWriter`.

    Raises:
        FileExistsError: if the path is there and is not to be replaced.
        ImportError: if zarr is not installed and needed.
        OSError: if the file cannot be written; then no part of it is there.
        ValueError: if the suffix is another, SEG-Y is asked for a survey that is no SEG-Y file, the path is the
            survey's own, or an inline was not written.
    """
    target = Path(path)
    check_target(survey, target)
    if target.suffix.lower() == ZARR_SUFFIX:
        label = name or ("mask" if mask else "probability")
        with zarr_like(survey, target, name=label, mask=mask, notes=notes, overwrite=overwrite) as store:
            yield from _complete(SlabWriter(store, survey, mask=mask))
    elif isinstance(survey.source, SegySource):
        with segy_like(survey.source, target, mask=mask, notes=notes, overwrite=overwrite) as file:
            yield from _complete(SlabWriter(file, survey, mask=mask))


def check_target(survey: Survey, path: Path) -> None:
    """Raise an error if a volume in the geometry of a survey cannot have this path.

    Raises:
        ImportError: if zarr is needed and not installed.
        ValueError: if the path is the survey's, or its suffix is that of no format that the survey can have.
    """
    if path.resolve() == survey.path.resolve():
        raise ValueError(f"path must differ from the survey's, got {path}: write to another file")
    known = (*SEGY_SUFFIXES, ZARR_SUFFIX) if isinstance(survey.source, SegySource) else (ZARR_SUFFIX,)
    if path.suffix.lower() not in known:
        raise ValueError(f"path must end with {', '.join(known)} for {survey.path.name}, got {path.name!r}: choose one")
    if path.suffix.lower() == ZARR_SUFFIX:
        load_zarr()


def volume_bytes(survey: Survey, path: Path, *, mask: bool) -> int:
    """Return the size of a SEG-Y volume in the geometry of a survey; 0 for zarr, which is compressed."""
    if path.suffix.lower() == ZARR_SUFFIX or not isinstance(survey.source, SegySource):
        return 0
    return segy_bytes(survey.source, mask=mask)


def _complete(writer: SlabWriter) -> Iterator[SlabWriter]:
    yield writer
    if not writer.written.all():
        missing = int((~writer.written).sum())
        raise ValueError(f"all {len(writer.written)} inlines must be written, got {missing} fewer: nothing was kept")


def write_like(
    survey: Survey,
    path: str | os.PathLike[str],
    values: Volume,
    *,
    mask: bool = False,
    name: str | None = None,
    notes: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write a volume in the geometry of a survey, slab by slab, and return its path.

    A SEG-Y file has the survey's byte order and headers, every trace header byte for byte. Only the format code of its
    binary header differs: 5, IEEE floating point, or 8, int8, for a mask; and the text header has the notes. Missing
    traces stay missing, and dead ones are 0. A zarr store has the chunks, dimensions, coordinates and masks of a
    survey in zarr, and NaN where there is no live trace.

    Args:
        survey: survey whose geometry the volume has.
        path: new file, .sgy or .segy for a SEG-Y survey, or new folder, .zarr.
        values: (inline, crossline, sample), floating point, where NaN becomes 0 in SEG-Y; or bool or 0 to 127.
        mask: whether the values are a mask.
        name: name of the array in a zarr store; None for "mask", or "probability".
        notes: lines of at most 76 characters for the text header of SEG-Y, or the attribute `notes` of zarr.
        overwrite: whether what is there is replaced.

    Raises:
        FileExistsError: if the path is there and is not to be replaced.
        ImportError: if zarr is not installed and needed.
        OSError: if the file cannot be written; then no part of it is there.
        ValueError: if the values do not fit the survey; see `open_like` for the path.
    """
    if tuple(values.shape) != survey.shape:
        raise ValueError(f"values must have the survey's shape {survey.shape}, got {tuple(values.shape)}: give it all")
    step = survey.source.slab_size()
    with open_like(survey, path, mask=mask, name=name, notes=notes, overwrite=overwrite) as volume:
        for first in range(0, survey.shape[0], step):
            volume.write(first, np.asarray(values[first : first + step]))
    return Path(path)


def write_survey(
    survey: Survey, path: str | os.PathLike[str], *, notes: Sequence[str] = (), overwrite: bool = False
) -> Path:
    """Write a survey of any source as a new file, slab by slab, and return its path.

    A SEG-Y file has revision 1, big-endian IEEE floating point, and its live traces only, inline after inline: line
    numbers in bytes 189 and 193, coordinates in centimetres in 181 and 185 and in 73 and 77, and headers of nothing
    else. To keep the headers of a SEG-Y survey, use `write_like`. A zarr store is that of `write_like`, with the
    array `amplitude`.

    Args:
        survey: survey to write.
        path: new file, .sgy or .segy, or new folder, .zarr.
        notes: as for `write_like`.
        overwrite: as for `write_like`.

    Raises:
        FileExistsError, ImportError, OSError: as `write_like` does.
        ValueError: if the suffix is another, the path is the survey's own, or its samples or coordinates do not fit
            into the headers of SEG-Y.
    """
    target = Path(path)
    if target.suffix.lower() == ZARR_SUFFIX:
        return write_like(survey, target, survey, name="amplitude", notes=notes, overwrite=overwrite)
    if target.suffix.lower() not in SEGY_SUFFIXES:
        raise ValueError(
            f"path must end with {', '.join((*SEGY_SUFFIXES, ZARR_SUFFIX))}, got {target.name!r}: choose one"
        )
    if target.resolve() == survey.path.resolve():
        raise ValueError(f"path must differ from the survey's, got {target}: write to another file")
    step = survey.source.slab_size()
    with new_segy(survey, target, notes=notes, overwrite=overwrite) as file:
        for first in range(0, survey.shape[0], step):
            file.write(first, survey[first : first + step])
    return target
