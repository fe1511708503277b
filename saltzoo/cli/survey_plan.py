"""What is segmented of a survey, and where it goes: checked before any work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .._checks import check_choice
from .._files import check_absent
from ..seismic import Survey
from ..seismic.survey import Direction
from ..seismic.writing import check_target

Lines = tuple[int | None, int | None, int]
"""First and last number, None for the survey's, and step."""


@dataclass(frozen=True)
class Plan:
    """What is segmented.

    Attributes:
        survey: survey to segment.
        out: new volume.
        directions: "inline", "crossline" or both.
        lines: numbers of the lines, for one direction; None for all.
        disagreement: new volume for the disagreement of two directions; None for none.
        overwrite: whether files that are there are replaced.
        resume: whether finished slabs of an interrupted run are used.
        shard: (number from 1, count) if this process computes every count-th slab only; None for all.
    """

    survey: Survey
    out: Path
    directions: tuple[Direction, ...] = ("inline",)
    lines: Lines | None = None
    disagreement: Path | None = None
    overwrite: bool = False
    resume: bool = False
    shard: tuple[int, int] | None = None

    @property
    def volumes(self) -> list[Path]:
        """Volumes that are written."""
        return [self.out] if self.disagreement is None else [self.out, self.disagreement]

    @property
    def sidecar(self) -> Path:
        """File of the options and statistics."""
        return self.out.with_suffix(".json")

    @property
    def count(self) -> int:
        """Number of lines that are segmented, in all directions."""
        return sum(int(self.chosen(direction).sum()) for direction in self.directions)

    def chosen(self, direction: Direction) -> npt.NDArray[np.bool_]:
        """Return whether each line of a direction is segmented."""
        numbers = self.survey.inlines if direction == "inline" else self.survey.crosslines
        return chosen_lines(numbers, self.lines)

    def check(self) -> None:
        """Raise an error if the plan cannot be done.

        Raises:
            FileExistsError: if a file is there and is not to be replaced.
            ImportError: if zarr is needed and not installed.
            ValueError: if an option is wrong.
        """
        self._check_directions()
        for target in self.volumes:
            check_target(self.survey, target)
        files = [*self.volumes, self.sidecar]
        if len({file.resolve() for file in files}) < len(files):
            raise ValueError(f"disagreement must differ from the volume, got {self.disagreement} twice: rename one")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise ValueError(
                f"shard must be I/N with I from 1 to N, got {self.shard[0]}/{self.shard[1]}: choose another"
            )
        if self.shard is None and not self.resume and not self.overwrite:
            self.check_files()  # a shard may find the complete result of its run
        self.check_parts()

    def check_files(self) -> None:
        """Raise FileExistsError if a file of the result is there."""
        for file in (*self.volumes, self.sidecar):
            check_absent(file)

    def check_parts(self) -> None:
        """Raise FileExistsError if slabs of an interrupted run are there and nothing says what to do with them."""
        parts, assembling = parts_folder(self.out), assembling_folder(self.out)
        if assembling.exists() and not self.resume and (self.shard is not None or not self.overwrite):
            raise FileExistsError(
                f"{assembling} holds all slabs of a run, which a process assembles: wait for it, or pass resume "
                "(--resume) if that process was stopped"
            )
        if parts.exists() and not self.resume and self.shard is None and not self.overwrite:
            raise FileExistsError(
                f"{parts} holds finished slabs of an interrupted run: pass resume (--resume) to go on with it, or "
                "overwrite (--overwrite) to begin anew"
            )

    def _check_directions(self) -> None:
        for direction in self.directions:
            check_choice("direction", direction, ("inline", "crossline"))
        both = len(self.directions) == 2
        if not self.directions or len(set(self.directions)) < len(self.directions):
            raise ValueError(f"directions must be inline, crossline or both, each once, got {self.directions}")
        if "crossline" in self.directions and self.survey.shape[0] == 1:
            raise ValueError(
                f"direction must be inline for a survey of one inline, got {' and '.join(self.directions)}: its "
                "crosslines are single traces"
            )
        if self.disagreement is not None and not both:
            raise ValueError(f"disagreement is that of both directions, got {self.directions[0]} only: segment both")
        if self.lines is None:
            return
        if both:
            raise ValueError("lines must be of one direction, got both directions: segment inlines or crosslines")
        if self.lines[2] < 1:
            raise ValueError(f"the step of lines must be 1 or more, got {self.lines[2]}")
        if not self.count:
            numbers = self.survey.inlines if self.directions[0] == "inline" else self.survey.crosslines
            raise ValueError(
                f"lines must hold one of the {self.directions[0]}s {numbers[0]} to {numbers[-1]}, got "
                f"{':'.join('' if one is None else str(one) for one in self.lines)}: see `saltzoo info`"
            )


def chosen_lines(numbers: npt.NDArray[np.int64], lines: Lines | None) -> npt.NDArray[np.bool_]:
    """Return whether each numbered line is among those that are segmented.

    Example:
        >>> chosen_lines(np.array([100, 102, 104, 106]), (102, None, 4)).tolist()
        [False, True, False, True]
    """
    if lines is None:
        return np.ones(len(numbers), np.bool_)
    first, last, step = lines
    first = int(numbers[0]) if first is None else first
    last = int(numbers[-1]) if last is None else last
    return (numbers >= first) & (numbers <= last) & ((numbers - first) % step == 0)


def parts_folder(out: Path) -> Path:
    """Return the folder of the finished slabs of a result."""
    return out.with_name(f".{out.name}.parts")


def assembling_folder(out: Path) -> Path:
    """Return the name of that folder while the result is assembled."""
    return out.with_name(f".{out.name}.assembling")


def parse_shard(text: str) -> tuple[int, int]:
    """Return the number and the count that "I/N" stands for.

    Raises:
        ValueError: if the text has another form, or I is not from 1 to N.

    Example:
        >>> parse_shard("2/8")
        (2, 8)
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"shard must be I/N with I from 1 to N, such as 1/4, got {text!r}: choose another")
    return int(found[1]), int(found[2])


def parse_lines(text: str) -> Lines:
    """Return numbers of lines that "FIRST:LAST:STEP", "FIRST:LAST" or one number stands for, the last included.

    Raises:
        ValueError: if the text has another form.

    Example:
        >>> parse_lines("100:200:10"), parse_lines("100:"), parse_lines("7")
        ((100, 200, 10), (100, None, 1), (7, 7, 1))
    """
    found = re.fullmatch(r"(-?\d+)|(-?\d+)?:(-?\d+)?(?::(\d+))?", text.strip())
    if not found or (found[4] is not None and not int(found[4])):
        raise ValueError(f"lines must be FIRST:LAST, FIRST:LAST:STEP with a step above 0, or a number, got {text!r}")
    if found[1] is not None:
        return int(found[1]), int(found[1]), 1
    first, last = (None if found[k] is None else int(found[k]) for k in (2, 3))
    return first, last, int(found[4] or 1)
