"""write_salt_horizons: the files of top and base of salt in a survey."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .._files import check_absent
from .horizon_files import RegularGrid, fit_regular_grid, write_horizon_csv, write_irap_grid
from .horizons import SaltHorizons
from .survey import Survey

CROSSINGS = "crossings"
_SURFACES = ("top", "base")


@dataclass(frozen=True)
class HorizonFiles:
    """What `write_salt_horizons` wrote.

    Attributes:
        files: files.
        without_grids: why there are no IRAP grids; "" if there are.
    """

    files: tuple[Path, ...]
    without_grids: str = ""


def horizon_paths(folder: Path) -> tuple[Path, ...]:
    """Return the files that may be written to a folder."""
    tables = [folder / f"{name}.csv" for name in (*_SURFACES, CROSSINGS)]
    return (*tables, *(folder / f"{name}.irap" for name in _SURFACES))


def write_salt_horizons(
    folder: str | os.PathLike[str], found: SaltHorizons, survey: Survey, *, overwrite: bool = False
) -> HorizonFiles:
    """Write top and base of salt as tables and IRAP classic grids, and a table of crossings.

    `top.csv` and `base.csv` have the columns il, xl, x, y, z, with z in the unit of the samples; `crossings.csv` has
    the number of times that a trace enters or leaves salt instead of z. Without coordinates in the survey, x and y are
    empty. `top.irap` and `base.irap` are left out without coordinates, and if the traces are on no regular grid.

    Args:
        folder: folder of the files; missing ones are created.
        found: horizons, as `salt_horizons` returns.
        survey: survey whose line numbers, samples and coordinates they have, such as the volume they were found in.
        overwrite: whether files that are there are replaced.

    Raises:
        FileExistsError: if a file is there and is not to be replaced.
        OSError: if a file cannot be written.
        ValueError: if the shapes differ.
    """
    where = Path(folder)
    if not overwrite:
        for path in horizon_paths(where):
            check_absent(path)
    coordinates = survey.source.coordinates()
    x, y = (np.full(survey.live.shape, np.nan),) * 2 if coordinates is None else coordinates
    start, interval = _sampling(survey)
    write = partial(
        write_horizon_csv,
        inlines=survey.inlines,
        crosslines=survey.crosslines,
        x=x,
        y=y,
        overwrite=overwrite,
    )
    surfaces = {"top": found.top, "base": found.base}
    files = [write(where / f"{name}.csv", one, start=start, interval=interval) for name, one in surfaces.items()]
    crossings = np.where(found.crossings > 0, found.crossings, np.nan)
    files.append(write(where / f"{CROSSINGS}.csv", crossings, value=CROSSINGS))
    grid, why = _grid(survey, coordinates)
    for name, one in surfaces.items():
        path = where / f"{name}.irap"
        if grid is not None:
            files.append(write_irap_grid(path, one, grid, start=start, interval=interval, overwrite=overwrite))
        else:
            path.unlink(missing_ok=True)  # of an earlier call, which is replaced
    return HorizonFiles(tuple(files), why)


def _sampling(survey: Survey) -> tuple[float, float]:
    samples = survey.samples
    return float(samples[0]), float(samples[1] - samples[0]) if len(samples) > 1 else 1.0


def _grid(
    survey: Survey, coordinates: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None
) -> tuple[RegularGrid | None, str]:
    """Return the grid of the traces, or None and why there is none."""
    if coordinates is None:
        return None, f"{survey.path} gives no coordinates"
    try:
        return fit_regular_grid(*coordinates), ""
    except ValueError as error:
        return None, str(error)
