"""Masks of the lines on which top and base of salt were picked."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .horizons import Surface
from .survey import Direction, Survey

HORIZON_FILES = ("top.csv", "base.csv")
"""Names of the tables of top and base of salt."""


def read_picked_lines(
    survey: Survey, top: Path | None, base: Path | None
) -> Iterator[tuple[Direction, int, npt.NDArray[np.bool_]]]:
    """Yield direction, number and mask (sample, trace) of the lines with picks.

    The tables have a header with il, xl and z; z is in the unit of the survey's samples. Lines are inlines, or
    crosslines where the picks lie on fewer of these. Within such a line salt is between top and base: from the first
    sample without a top, to the last without a base. A trace without either holds no salt, so a line must be picked
    from end to end. `write_horizon_csv` of `salt_horizons` gives the mask back, except for sediment within salt, and
    for traces that are salt from the first sample to the last.

    Args:
        survey: survey that was picked.
        top: table of the top; None if salt begins above the first sample everywhere.
        base: table of the base; None if salt goes on below the last sample everywhere.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a table lacks a column, a value is no number, a trace is not in the survey or there twice, z is
            beyond the samples, or a base is not below its top.
    """
    tops, bases = (_read_horizon(survey, path) for path in (top, base))
    picked = np.isfinite(tops) | np.isfinite(bases)
    rows, columns = np.flatnonzero(picked.any(1)), np.flatnonzero(picked.any(0))
    if not len(rows):
        raise ValueError(f"horizons must hold picks, got none in {top or base}: add rows of il, xl, z")
    inverted = np.argwhere(tops >= bases)
    if len(inverted):
        i, j = inverted[0]
        raise ValueError(
            f"base must be below top, got both at inline {survey.inlines[i]}, crossline {survey.crosslines[j]} in "
            f"{base} and {top}: correct the picks"
        )
    along: Direction = "inline" if len(rows) <= len(columns) else "crossline"
    numbers = survey.inlines if along == "inline" else survey.crosslines
    index = np.arange(len(survey.samples))[:, None]
    for line in (rows if along == "inline" else columns).tolist():
        place = line if along == "inline" else (slice(None), line)
        first, last = np.nan_to_num(tops[place], nan=-np.inf), np.nan_to_num(bases[place], nan=np.inf)
        yield along, int(numbers[line]), (index > first) & (index < last) & picked[place]


def _read_horizon(survey: Survey, path: Path | None) -> Surface:
    """Return a horizon in samples from the first one, (inline, crossline), NaN without a pick."""
    found = np.full(survey.shape[:2], np.nan)
    if path is None:
        return found
    start, last = survey.samples[0], survey.samples[-1]
    step = (last - start) / max(1, len(survey.samples) - 1) or 1.0
    with open(path, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        missing = [name for name in ("il", "xl", "z") if name not in (table.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path} must have a header with il, xl and z, got no {', '.join(missing)}: add a first line"
            )
        for row in table:
            where = f"{path}, line {table.line_num}"
            try:
                inline, crossline, z = int(row["il"]), int(row["xl"]), float(row["z"])
                place = survey.index_of("inline", inline), survey.index_of("crossline", crossline)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{where} must be numbers of a trace and its z: {error}") from error
            if not math.isfinite(z) or not start - step <= z <= last + step:
                unit = f" {survey.unit}" if survey.unit else ""
                raise ValueError(
                    f"{where}: z must be in {start:g} to {last:g}{unit}, those of the samples, got {z:g}: convert it"
                )
            if np.isfinite(found[place]):
                raise ValueError(
                    f"{where}: a trace must have one pick, got inline {inline}, crossline {crossline} twice"
                )
            found[place] = (z - start) / step
    return found
