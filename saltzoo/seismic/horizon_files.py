"""Writers of horizons: a table of points, and IRAP classic grids, which interpreters' software reads."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .horizons import Surface
from .writers import whole_file

IRAP_UNDEFINED = 9999900.0
"""Value of a node without a horizon in an IRAP classic grid."""

Numbers = Sequence[int] | npt.NDArray[Any]


def scale_coordinates(coordinates: npt.NDArray[Any], scalco: int | npt.NDArray[Any]) -> Surface:
    """Return coordinates of trace headers in units of length, by the scalar in bytes 71-72 of the header.

    Args:
        coordinates: integers as the headers hold them.
        scalco: scalar for all, or one for each coordinate: a positive one multiplies, a negative one divides, and 0
            stands for 1.

    Source: SEG-Y revision 2.0, trace header, bytes 71-72.

    Example:
        >>> scale_coordinates(np.array([6054167]), -10).tolist(), scale_coordinates(np.array([6054]), 10).tolist()
        ([605416.7], [60540.0])
    """
    scalar = np.asarray(scalco, np.int64)
    multiplied = np.asarray(coordinates, np.float64) * np.where(scalar > 0, scalar, 1)
    return multiplied / np.where(scalar < 0, -scalar, 1)


def write_horizon_csv(
    path: str | os.PathLike[str],
    horizon: Surface,
    *,
    inlines: Numbers,
    crosslines: Numbers,
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    scalco: int | npt.NDArray[Any] = 1,
    start: float = 0.0,
    interval: float = 1.0,
    overwrite: bool = False,
) -> Path:
    """Write the points of a horizon as a table with the columns il, xl, x, y, z, and return its path.

    Traces where the horizon is NaN are left out.

    Args:
        path: file; missing folders are created.
        horizon: (inline, crossline), samples from the first one, as `salt_horizons` returns.
        inlines: number of each inline.
        crosslines: number of each crossline.
        x: (inline, crossline), coordinates as the trace headers hold them.
        y: (inline, crossline).
        scalco: scalar of coordinates, or one for each trace; see `scale_coordinates`.
        start: time or depth of the first sample.
        interval: time or depth between samples, in the same unit.
        overwrite: whether a file that is there is replaced.

    Raises:
        ValueError: if a shape differs from the horizon's.
        FileExistsError: if the file is there and is not to be replaced.
        OSError: if the file cannot be written; then no part of it is there.
    """
    _check_shapes(horizon, inlines=inlines, crosslines=crosslines, x=x, y=y)
    xs, ys = scale_coordinates(x, scalco), scale_coordinates(y, scalco)
    rows, columns = np.nonzero(np.isfinite(horizon))
    with whole_file(Path(path), overwrite=overwrite) as file:
        text = io.TextIOWrapper(file, encoding="ascii", newline="")
        text.write("il,xl,x,y,z\n")
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
            z = start + interval * horizon[i, j]
            text.write(f"{inlines[i]},{crosslines[j]},{xs[i, j]:.3f},{ys[i, j]:.3f},{z:.4f}\n")
        text.flush()
        text.detach()
    return Path(path)


@dataclass(frozen=True)
class RegularGrid:
    """Position of a survey's traces: equal steps along two directions at a right angle.

    Attributes:
        origin: x and y of the first trace.
        steps: distance between inlines and between crosslines.
        azimuth: direction in which the inline number grows, degrees counter-clockwise from the x axis, in -180..180.
        left_handed: whether the crossline number grows to the right of that direction, not to its left.
    """

    origin: tuple[float, float]
    steps: tuple[float, float]
    azimuth: float
    left_handed: bool


def fit_regular_grid(
    x: npt.NDArray[Any], y: npt.NDArray[Any], *, scalco: int | npt.NDArray[Any] = 1, tolerance: float = 0.25
) -> RegularGrid:
    """Return the regular grid through the coordinates of a survey's traces.

    Args:
        x: (inline, crossline), coordinates as the trace headers hold them; NaN where there is no trace.
        y: (inline, crossline).
        scalco: scalar of coordinates, or one for each trace; see `scale_coordinates`.
        tolerance: largest distance of a trace from its node, in parts of the smaller step.

    Raises:
        ValueError: if there are fewer than 2 lines in a direction, or the traces do not lie on a regular grid.
    """
    xs, ys = scale_coordinates(x, scalco), scale_coordinates(y, scalco)
    if xs.ndim != 2 or xs.shape != ys.shape or min(xs.shape) < 2:
        raise ValueError(f"x and y must be (inline, crossline), 2 lines or more each, got {xs.shape} and {ys.shape}")
    live = np.isfinite(xs) & np.isfinite(ys)
    rows, columns = np.nonzero(live)
    nodes = np.stack([np.ones(len(rows)), rows, columns], axis=1)
    if np.linalg.matrix_rank(nodes) < 3:
        raise ValueError(f"x and y must be known for traces of 2 lines in each direction, got {len(rows)} traces")
    positions = np.stack([xs[live], ys[live]], axis=1)
    centre = positions.mean(axis=0)
    (origin, along, across), *_ = np.linalg.lstsq(nodes, positions - centre, rcond=None)
    steps = float(np.hypot(*along)), float(np.hypot(*across))
    turn = float(along[0] * across[1] - along[1] * across[0])
    off = float(np.abs(positions - centre - nodes @ np.stack([origin, along, across])).max())
    if min(steps) == 0 or abs(turn) < 0.999 * steps[0] * steps[1] or off > tolerance * min(steps):
        raise ValueError(
            f"x and y must lie on a grid of equal steps at a right angle, got traces up to {off:g} off it, with steps "
            f"{steps[0]:g} and {steps[1]:g}: check the scalar of coordinates, or write a table with write_horizon_csv"
        )
    azimuth = math.degrees(math.atan2(along[1], along[0]))
    first = centre + origin
    return RegularGrid((float(first[0]), float(first[1])), steps, azimuth, left_handed=turn < 0)


def write_irap_grid(
    path: str | os.PathLike[str],
    horizon: Surface,
    grid: RegularGrid,
    *,
    start: float = 0.0,
    interval: float = 1.0,
    overwrite: bool = False,
) -> Path:
    """Write a horizon as an IRAP classic grid in text, and return its path. NaN becomes 9999900, "undefined".

    The format counts columns along a direction and rows to its left, so that a left-handed survey is written with
    crosslines as columns.

    Args:
        path: file; missing folders are created.
        horizon: (inline, crossline), samples from the first one, as `salt_horizons` returns.
        grid: position of the traces, as `fit_regular_grid` returns.
        start: time or depth of the first sample.
        interval: time or depth between samples, in the same unit.
        overwrite: whether a file that is there is replaced.

    Raises:
        ValueError: if the horizon has not two axes, of 2 lines or more.
        FileExistsError: if the file is there and is not to be replaced.
        OSError: if the file cannot be written; then no part of it is there.
    """
    if horizon.ndim != 2 or min(horizon.shape) < 2:
        raise ValueError(f"horizon must be (inline, crossline), 2 lines or more each, got shape {horizon.shape}")
    depths = np.asarray(start + interval * horizon, np.float64)
    steps, azimuth = grid.steps, grid.azimuth
    if grid.left_handed:  # crosslines are the columns, and inlines lie to their left
        depths, steps, azimuth = depths.T, (steps[1], steps[0]), azimuth - 90
    columns, rows = depths.shape
    x, y = grid.origin
    # The corners of an unrotated grid of this size, as other software writes them.
    header = (
        f"-996 {rows} {steps[0]:.6f} {steps[1]:.6f}\n"
        f"{x:.6f} {x + (columns - 1) * steps[0]:.6f} {y:.6f} {y + (rows - 1) * steps[1]:.6f}\n"
        f"{columns} {azimuth % 360:.6f} {x:.6f} {y:.6f}\n"
        "0 0 0 0 0 0 0\n"
    )
    values = np.where(np.isfinite(depths), depths, IRAP_UNDEFINED).T.ravel().tolist()  # columns vary fastest
    with whole_file(Path(path), overwrite=overwrite) as file:
        file.write(header.encode("ascii"))
        for first in range(0, len(values), 6):
            file.write((" ".join(f"{value:.4f}" for value in values[first : first + 6]) + "\n").encode("ascii"))
    return Path(path)


def _check_shapes(horizon: Surface, *, inlines: Numbers, crosslines: Numbers, **arrays: npt.NDArray[Any]) -> None:
    if horizon.ndim != 2 or horizon.shape != (len(inlines), len(crosslines)):
        raise ValueError(
            f"horizon must be (inline, crossline) with a number for each line, got shape {horizon.shape}, "
            f"{len(inlines)} inlines and {len(crosslines)} crosslines"
        )
    for name, array in arrays.items():
        if np.shape(array) != horizon.shape:
            raise ValueError(f"{name} must have the horizon's shape {horizon.shape}, got {np.shape(array)}")
