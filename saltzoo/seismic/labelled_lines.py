"""Reader of the labelled lines of a survey: masks named by line, or picked horizons."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .masks import check_one_meaning, read_mask
from .picked_horizons import HORIZON_FILES, read_picked_lines
from .pictures import SUFFIXES
from .survey import Direction, Survey

_NAME = re.compile(r"(inline|crossline)[ _]?(-?\d+)(?:_mask)?(?:\.\w+)?", re.IGNORECASE)
_EXAMPLES = "inline_240.png and crossline_1100.png, or top.csv and base.csv"


@dataclass(frozen=True, eq=False)
class LabelledLine:
    """The mask of one line of a survey.

    Attributes:
        direction: "inline" or "crossline".
        number: number of the line.
        mask: (sample, trace), bool, True for salt.
    """

    direction: Direction
    number: int
    mask: npt.NDArray[np.bool_]

    @property
    def name(self) -> str:
        """Direction and number, such as "inline 240"."""
        return f"{self.direction} {self.number}"


def read_labelled_lines(survey: Survey, folder: str | os.PathLike[str]) -> list[LabelledLine]:
    """Read the masks of some lines of a survey from a folder.

    A mask is a gray picture of the whole line, with a row for each sample and a column for each trace, 0 for background
    and 1, 255 or 65535 for salt. Its name is the line: `inline_240.png`, `crossline_1100.png`; zeros before the number
    and `_mask` after it are allowed. Horizons are `top.csv` and `base.csv`, tables with the columns il, xl and z, as
    `write_horizon_csv` writes them; see `read_picked_lines`. Files of other kinds are left out.

    Args:
        survey: survey that the lines are of.
        folder: folder of the files.

    Returns:
        The lines, inlines first, by ascending numbers.

    Raises:
        OSError: if the folder or a file cannot be opened.
        ValueError: if the folder holds no mask and no horizon, a picture is not named by a line of the survey, a line
            is there twice, a mask has another size than its line or other values, or a horizon cannot be read.
    """
    place = Path(folder)
    if not place.is_dir():
        raise NotADirectoryError(f"lines must be a folder of masks, got {str(place)!r}: put {_EXAMPLES} into one")
    files = [path for path in sorted(place.iterdir()) if path.is_file() and not path.name.startswith(".")]
    found: dict[str, tuple[str, LabelledLine]] = {}
    salt_of: dict[str, int] = {}
    for path in files:
        if path.suffix.lower() in SUFFIXES:
            line, salt_of[str(path)] = _read_line(survey, path)
            _add(found, line, path.name)
    check_one_meaning(salt_of)
    horizons = {path.name.lower(): path for path in files if path.name.lower() in HORIZON_FILES}
    if horizons:
        for direction, number, mask in read_picked_lines(survey, *(horizons.get(name) for name in HORIZON_FILES)):
            _add(found, LabelledLine(direction, number, mask), " and ".join(horizons))
    if not found:
        raise ValueError(f"{place} must hold masks named by line, got none: put {_EXAMPLES} there")
    return sorted((line for _, line in found.values()), key=lambda line: (line.direction != "inline", line.number))


def choose_line(lines: Sequence[LabelledLine], name: str | None) -> LabelledLine:
    """Return a labelled line by its name: "inline 240", "inline_0240.png", or "240" where one line has this number.

    Args:
        lines: labelled lines.
        name: name of one; None for the last.

    Raises:
        ValueError: if no line, or more than one, has the name.
    """
    if name is None:
        return lines[-1]
    found = re.fullmatch(r"-?\d+", name.strip()) or _NAME.fullmatch(name.strip())
    wanted = None if found is None else int(found[2] if found.groups() else found[0])
    direction = found[1].lower() if found is not None and found.groups() else None
    same = [line for line in lines if line.number == wanted and direction in (None, line.direction)]
    if len(same) != 1:
        known = ", ".join(line.name for line in lines[:8]) + (", ..." if len(lines) > 8 else "")
        raise ValueError(f"held must be one of the labelled lines, {known}, got {name!r}: give direction and number")
    return same[0]


def check_line(survey: Survey, line: LabelledLine, what: str) -> None:
    """Raise ValueError if a labelled line is not in the survey, or its mask has another size; `what` names the mask."""
    try:
        survey.index_of(line.direction, line.number)
    except ValueError as error:
        raise ValueError(f"{what} must be a line of {survey.path}: {error}") from error
    traces = len(survey.crosslines if line.direction == "inline" else survey.inlines)
    if line.mask.shape != (len(survey.samples), traces):
        height, width = line.mask.shape
        raise ValueError(
            f"{what} must have a row for each sample and a column for each trace of {line.name}, "
            f"{len(survey.samples)} x {traces} (height x width), got {height} x {width}: draw the mask on "
            f"the whole line"
        )


def _read_line(survey: Survey, path: Path) -> tuple[LabelledLine, int]:
    """Read a mask, and return its line and the value of its salt."""
    name = _NAME.fullmatch(path.stem)
    if name is None:
        raise ValueError(f"masks must be named by their line, such as {_EXAMPLES}, got {path}: rename or remove it")
    direction: Direction = "inline" if name[1].lower() == "inline" else "crossline"
    mask, salt = read_mask(path)
    line = LabelledLine(direction, int(name[2]), mask)
    check_line(survey, line, str(path))
    return line, salt


def _add(found: dict[str, tuple[str, LabelledLine]], line: LabelledLine, source: str) -> None:
    if line.name in found:
        raise ValueError(f"{line.name} must be labelled once, got {found[line.name][0]} and {source}: remove one")
    found[line.name] = (source, line)
