"""SyntheticSource: the samples of a synthetic survey as `saltzoo.seismic` reads those of a file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._files import check_absent
from ..seismic import Survey
from ..seismic.survey import Amplitudes, Coordinates
from ..seismic.writing import SEGY_SUFFIXES, ZARR_SUFFIX

INTERVAL = 4.0
"""Milliseconds between samples."""

INLINES, CROSSLINES = 1001, 2001
"""Numbers of the first lines."""

_ORIGIN, _BIN, _AZIMUTH = (500_000.0, 6_000_000.0), 25.0, math.radians(30)
"""Position of the first trace and distance of the lines, metres, and direction in which the inline number grows."""

_SLAB = 2**22
"""Samples of a slab."""


@dataclass(frozen=True, eq=False)
class SyntheticSource:
    """Samples that are drawn as they are read.

    Attributes:
        shape: numbers of inlines, crosslines and samples.
        draw: function of the first and the last inline + 1 that returns their amplitudes.
    """

    shape: tuple[int, int, int]
    draw: Callable[[int, int], Amplitudes]

    def read(self, inlines: slice, crosslines: slice, samples: slice) -> Amplitudes:
        """Return a part of the volume; see `Source`."""
        rows = range(inlines.start, inlines.stop, inlines.step)
        result = np.empty((len(rows), *self.shape[1:]), np.float32)
        if inlines.step == 1:  # neighbours share work
            result[:] = self.draw(inlines.start, inlines.stop)
        else:
            for row, inline in enumerate(rows):
                result[row] = self.draw(inline, inline + 1)[0]
        return np.ascontiguousarray(result[:, crosslines, samples])

    def coordinates(self) -> tuple[Coordinates, Coordinates]:
        """Return x and y of a regular grid that is turned by 30 degrees; see `Source`."""
        along = _BIN * np.arange(self.shape[0])[:, None]
        across = _BIN * np.arange(self.shape[1])
        cosine, sine = math.cos(_AZIMUTH), math.sin(_AZIMUTH)
        return _ORIGIN[0] + along * cosine - across * sine, _ORIGIN[1] + along * sine + across * cosine

    def details(self) -> dict[str, Any]:
        """Return the format; see `Source`."""
        return {"format": "synthetic", "traces": self.shape[0] * self.shape[1]}

    def slab_size(self) -> int:
        """Return how many inlines hold 16 MiB; see `Source`."""
        return max(1, _SLAB // (self.shape[1] * self.shape[2]))


def synthetic_geometry(shape: tuple[int, int, int], draw: Callable[[int, int], Amplitudes]) -> Survey:
    """Return a survey of samples that are drawn, with line numbers from 1001 and 2001, and 4 ms between samples."""
    live: npt.NDArray[np.bool_] = np.ones(shape[:2], np.bool_)
    return Survey(
        path=Path("synthetic"),
        inlines=np.arange(INLINES, INLINES + shape[0], dtype=np.int64),
        crosslines=np.arange(CROSSLINES, CROSSLINES + shape[1], dtype=np.int64),
        samples=INTERVAL * np.arange(shape[2], dtype=np.float64),
        unit="ms",
        live=live,
        source=SyntheticSource(shape, draw),
    )


def check_paths(path: Path, mask: Path | None, *, overwrite: bool) -> None:
    """Raise an error if a survey and its mask cannot be written to these paths.

    Raises:
        FileExistsError: if one is there and is not to be replaced.
        ValueError: if they are the same, or their suffixes are others.
    """
    kinds = (*SEGY_SUFFIXES, ZARR_SUFFIX)
    if path.suffix.lower() not in kinds:
        raise ValueError(f"path must end with {', '.join(kinds)}, got {path.name!r}: choose one")
    if mask is not None:
        of_mask = (ZARR_SUFFIX,) if path.suffix.lower() == ZARR_SUFFIX else kinds
        if mask.suffix.lower() not in of_mask:
            raise ValueError(
                f"mask must end with {', '.join(of_mask)} beside {path.name}, got {mask.name!r}: choose one"
            )
        if mask.resolve() == path.resolve():
            raise ValueError(f"mask must differ from path, got {mask} twice: rename one")
    for one in (path, mask):
        if one is not None and not overwrite:
            check_absent(one)
