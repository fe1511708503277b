"""Reader of zarr arrays and groups as surveys: plain ones, and those of MDIO 1.0."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .survey import Amplitudes, Survey

if TYPE_CHECKING:
    import zarr

MASK = "trace_mask"
"""Name of the array that says which traces are live, as MDIO calls it."""

NAMES = ("inline", "crossline", "time")
"""Names of dimensions that an array does not name."""

_KNOWN = (
    frozenset({"inline", "iline", "il"}),
    frozenset({"crossline", "xline", "xl", "cdp", "trace"}),
    frozenset({"time", "depth", "sample", "samples", "twt", "z"}),
)
_METADATA = ("zarr.json", ".zarray", ".zgroup")


@dataclass(frozen=True, eq=False)
class ZarrSource:
    """Samples of a zarr array.

    Attributes:
        folder: folder of the group, or of the array if it is in none.
        array: 2-D or 3-D array.
        axes: for inline, crossline and sample: its axis in the array; None for the inline of a 2-D line.
        names: names of the three dimensions.
        live: whether a trace is live, (inline, crossline).
    """

    folder: Path
    array: zarr.Array[Any]
    axes: tuple[int | None, int, int]
    names: tuple[str, str, str]
    live: npt.NDArray[np.bool_]

    def read(self, inlines: slice, crosslines: slice, samples: slice) -> Amplitudes:
        """Return a part of the volume; see `Source`."""
        parts = dict(zip(self.axes, (inlines, crosslines, samples), strict=True))
        read = np.asarray(self.array[tuple(parts[axis] for axis in range(self.array.ndim))])
        values = read.transpose([axis for axis in self.axes if axis is not None]).astype(np.float32, order="C")
        if self.axes[0] is None:
            values = values[None][inlines]
        values[~self.live[inlines, crosslines]] = np.nan
        return values

    def chunks(self) -> tuple[int, int, int]:
        """Return the parts that are stored as one object, (inline, crossline, sample)."""
        stored = self.array.shards or self.array.chunks
        first, second, third = (1 if axis is None else int(stored[axis]) for axis in self.axes)
        return first, second, third

    def details(self) -> dict[str, Any]:
        """Return type, chunks and dimensions; see `Source`."""
        chunks = " x ".join(map(str, self.chunks()))
        return {
            "format": f"zarr {self.array.metadata.zarr_format}, {self.array.dtype}, chunks {chunks}",
            "traces": int(self.live.sum()),
            "array": self.array.name or "/",
            "dimensions": list(self.names),
        }

    def slab_size(self) -> int:
        """Return the inlines of a chunk; see `Source`."""
        return self.chunks()[0]


def load_zarr() -> Any:
    """Return the library.

    Raises:
        ImportError: if it is not installed; the message says how to install it.
    """
    try:
        import zarr
    except ImportError as error:
        raise ImportError("zarr is needed for this: install it with `pip install 'saltzoo[zarr]'`") from error
    return zarr


def is_zarr(path: Path) -> bool:
    """Return whether a path is a folder of a zarr array or group."""
    return any((path / name).is_file() for name in _METADATA)


def open_zarr(path: Path) -> Survey:
    """Open a zarr array or group; see `open_survey`."""
    library = load_zarr()
    arrays = arrays_of(path)
    folder = path / _volume(arrays, path) if arrays else path
    try:
        array = library.open_array(os.fspath(folder), mode="r")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{folder} cannot be read as a zarr array ({error}): copy the store again") from error
    if array.ndim not in (2, 3) or array.dtype.kind not in "iuf" or not array.size:
        raise ValueError(
            f"{folder} must be an array (inline, crossline, sample) or (trace, sample) of numbers, got {array.dtype} "
            f"{array.shape}: choose another array"
        )
    given = _dimensions(array)
    axes, names = _order(given, array.ndim)
    sizes = [1 if axis is None else array.shape[axis] for axis in axes]
    coordinates = {name: _read(path / name) for name in names if arrays.get(name) is not None}
    numbers = [coordinates.get(name, np.arange(size)) for name, size in zip(names, sizes, strict=True)]
    for name, values, size in zip(names, numbers, sizes, strict=True):
        if values.shape != (size,):
            raise ValueError(
                f"coordinate {name} of {path} must have the shape ({size},), got {values.shape}: correct it"
            )
    live = np.ones(sizes[:2], np.bool_)
    if MASK in arrays:
        mask = _read(path / MASK).astype(np.bool_)
        swapped = axes[0] is not None and axes[0] > axes[1]
        live = (mask.T if swapped else mask).reshape(sizes[:2])
    unit = "" if names[2] not in coordinates else "m" if names[2] in ("depth", "z") else "ms"
    return Survey(
        path=path,
        inlines=numbers[0].astype(np.int64),
        crosslines=numbers[1].astype(np.int64),
        samples=numbers[2].astype(np.float64),
        unit=unit,
        live=live,
        source=ZarrSource(path, array, axes, names, live),
    )


def arrays_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of a group by name, from its metadata: arrays of any type; {} for an array."""
    found = {}
    for child in sorted(folder.iterdir()):
        for name in _METADATA[:2]:
            if (child / name).is_file():
                shape = json.loads((child / name).read_text(encoding="utf-8")).get("shape")
                if shape is not None:
                    found[child.name] = tuple(shape)
    return found


def _volume(arrays: dict[str, tuple[int, ...]], path: Path) -> str:
    """Return the name of the array of amplitudes: "amplitude", or the only one of three dimensions."""
    if "amplitude" in arrays:
        return "amplitude"
    volumes = [name for name, shape in arrays.items() if len(shape) == 3]
    if len(volumes) == 1:
        return volumes[0]
    raise ValueError(
        f"{path} must hold one array of three dimensions, or one named amplitude, got "
        f"{', '.join(volumes or arrays)}: open the folder of the array, such as {path / next(iter(volumes or arrays))}"
    )


def _dimensions(array: zarr.Array[Any]) -> list[str] | None:
    """Return names of the dimensions, as zarr 3 stores them, or xarray in zarr 2."""
    names = array.metadata.to_dict().get("dimension_names") or array.attrs.get("_ARRAY_DIMENSIONS")
    return [str(name) for name in names] if isinstance(names, list | tuple) and None not in names else None


def _order(names: list[str] | None, ndim: int) -> tuple[tuple[int | None, int, int], tuple[str, str, str]]:
    """Return axes and names of inline, crossline and sample; in the array's order if the names do not tell."""
    if names is None:
        names = list(NAMES if ndim == 3 else NAMES[1:])
    lower = [name.lower() for name in names]
    found = [next((axis for axis, name in enumerate(lower) if name in known), None) for known in _KNOWN]
    first, second, third = found
    if ndim == 2:
        second, third = (second, third) if second is not None and third is not None else (0, 1)
        return (None, second, third), (NAMES[0], names[second], names[third])
    if first is None or second is None or third is None:
        first, second, third = 0, 1, 2
    return (first, second, third), (names[first], names[second], names[third])


def _read(folder: Path) -> npt.NDArray[Any]:
    return np.asarray(load_zarr().open_array(os.fspath(folder), mode="r")[...])
