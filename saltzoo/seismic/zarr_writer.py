"""Writer of zarr stores on the grid of a survey."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._files import check_absent, give_name
from .survey import Survey
from .zarr_store import MASK, NAMES, ZarrSource, arrays_of, load_zarr

if TYPE_CHECKING:
    import zarr

_COORDINATES = ("cdp_x", "cdp_y")
"""Names of the arrays of coordinates, MDIO's."""

_CHUNKS = (64, 64, 128)
"""Largest chunks of a store for a survey that has none."""


@dataclass(frozen=True, eq=False)
class ZarrWriter:
    """A zarr array that is being written.

    Attributes:
        array: array in the source's order of dimensions.
        axes: for inline, crossline and sample: its axis in the array; None for the inline of a 2-D line.
        live: whether a trace is live.
    """

    array: zarr.Array[Any]
    axes: tuple[int | None, int, int]
    live: npt.NDArray[np.bool_]

    def write(self, first: int, values: npt.NDArray[np.generic]) -> None:
        """Write the samples of consecutive inlines; dead traces become NaN, or 0 in a mask.

        Args:
            first: index of the first of them.
            values: (inline, crossline, sample).
        """
        stop = first + len(values)
        live = self.live[first:stop, :, None]
        written = np.where(live, values, self.array.fill_value).astype(self.array.dtype)
        if self.axes[0] is None:
            self.array[...] = written[0].transpose(np.argsort(self.axes[1:]))
            return
        part = [slice(None)] * 3
        part[self.axes[0]] = slice(first, stop)
        self.array[tuple(part)] = written.transpose(np.argsort([axis for axis in self.axes if axis is not None]))


@contextmanager
def zarr_like(
    survey: Survey, path: Path, *, name: str, mask: bool, notes: Sequence[str], overwrite: bool
) -> Iterator[ZarrWriter]:
    """Write a store beside `path` with coordinates and no samples, which gets its name at the end of the block."""
    library = load_zarr()
    if not overwrite:
        check_absent(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield _create(library, survey, part, name=name, mask=mask, notes=notes)
        give_name(part, path, overwrite=overwrite)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _create(library: Any, survey: Survey, part: Path, *, name: str, mask: bool, notes: Sequence[str]) -> ZarrWriter:
    """Create a store with an empty array, and the source's coordinates."""
    source = survey.source
    of_zarr = source if isinstance(source, ZarrSource) else None
    version = of_zarr.array.metadata.zarr_format if of_zarr else 3
    axes: tuple[int | None, int, int] = of_zarr.axes if of_zarr else (0, 1, 2)
    names = of_zarr.names if of_zarr else (*NAMES[:2], {"ms": "time", "m": "depth"}.get(survey.unit, "sample"))
    used = sorted((axis, place) for place, axis in enumerate(axes) if axis is not None)
    shape = tuple(survey.shape[place] for _, place in used)
    dimensions = [names[place] for _, place in used]
    group = library.open_group(os.fspath(part), mode="w", zarr_format=version)
    group.attrs["notes"] = list(notes)
    array = group.create_array(
        name,
        shape=shape,
        dtype="uint8" if mask else "float32",
        chunks=of_zarr.array.chunks if of_zarr else tuple(map(min, zip(shape, _CHUNKS, strict=True))),
        shards=of_zarr.array.shards if of_zarr else None,
        fill_value=0 if mask else float("nan"),
        dimension_names=dimensions if version == 3 else None,
        attributes={} if version == 3 else {"_ARRAY_DIMENSIONS": dimensions},
    )
    if of_zarr:
        if told := of_zarr.array.attrs.get("coordinates"):
            array.attrs["coordinates"] = told
        _copy_others(of_zarr, part, array.shape, name)
    else:
        for label, values in zip(names, (survey.inlines, survey.crosslines, survey.samples), strict=True):
            group.create_array(label, data=values, dimension_names=[label])
        group.create_array(MASK, data=survey.live, dimension_names=list(names[:2]))
        if found := source.coordinates():
            for label, values in zip(_COORDINATES, found, strict=True):
                group.create_array(label, data=values, dimension_names=list(names[:2]))
            array.attrs["coordinates"] = " ".join(_COORDINATES)  # xarray makes coordinates of them
    return ZarrWriter(array, axes, survey.live)


def _copy_others(source: ZarrSource, part: Path, shape: tuple[int, ...], name: str) -> None:
    """Copy every array of the source's group that is no volume: coordinates, mask and headers, byte for byte."""
    for other, size in arrays_of(source.folder).items():
        if size != shape and other != name:
            shutil.copytree(source.folder / other, part / other)
