"""compute_slab: probabilities of some lines of a survey. A single run, its shards and workers of dask all call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..inference import predict_tiled
from ..models import Segmenter
from ..seismic import RobustStatistics, Survey
from ..seismic.survey import Direction
from .segmenting import Prediction
from .survey_plan import Lines, chosen_lines

Floats = npt.NDArray[np.float32]

_SAMPLES = 2**22
"""Samples of a block of crosslines."""


@dataclass(frozen=True, order=True)
class Slab:
    """Consecutive lines of one direction, which are computed and stored as one.

    Attributes:
        direction: direction of the lines.
        first: index of the first.
        stop: index after the last.
    """

    direction: Direction
    first: int
    stop: int

    @property
    def part(self) -> slice:
        """Indices of the lines."""
        return slice(self.first, self.stop)


@dataclass(frozen=True)
class Job:
    """All that the probabilities of a survey depend on, as every process of a run has to know it.

    Attributes:
        survey: path of the survey.
        reading: options of `open_survey`.
        size: bytes of the survey's file, or of the metadata of a store.
        modified: time of its last change, ns.
        shape: numbers of inlines, crosslines and samples.
        directions: directions that are segmented.
        lines: numbers of the lines, for one direction; None for all.
        steps: lines of a slab, for each direction.
        statistics: of the survey's amplitudes.
        prediction: how probabilities are computed.
        model: name of the weights.
        weights: digest of the weights.
        mask: whether the result is a mask.
        threshold: probability above which a sample is salt.
        disagreement: name of the volume of the disagreement of directions; None for none.
        version: of saltzoo.
    """

    survey: str
    reading: dict[str, Any]
    size: int
    modified: int
    shape: tuple[int, int, int]
    directions: tuple[Direction, ...]
    lines: Lines | None
    steps: dict[str, int]
    statistics: RobustStatistics
    prediction: Prediction
    model: str
    weights: str
    mask: bool
    threshold: float
    disagreement: str | None
    version: str

    def slabs(self, survey: Survey) -> list[Slab]:
        """Return the slabs with a line to segment: those of crosslines, then those of inlines."""
        found: list[Slab] = []
        for direction in sorted(self.directions):
            chosen, step = self.chosen(survey, direction), self.steps[direction]
            slabs = (Slab(direction, first, min(first + step, len(chosen))) for first in range(0, len(chosen), step))
            found += [slab for slab in slabs if chosen[slab.part].any()]
        return found

    def chosen(self, survey: Survey, direction: Direction) -> npt.NDArray[np.bool_]:
        """Return whether each line of a direction is segmented."""
        return chosen_lines(survey.inlines if direction == "inline" else survey.crosslines, self.lines)


def steps_of(survey: Survey) -> dict[str, int]:
    """Return the lines of a slab for each direction: about 16 MiB of probabilities, or a chunk of zarr."""
    inlines, _, samples = survey.shape
    return {"inline": survey.source.slab_size(), "crossline": max(1, _SAMPLES // (inlines * samples))}


def compute_slab(
    model: Segmenter, survey: Survey, job: Job, slab: Slab, *, finished: Callable[[], object] | None = None
) -> Floats:
    """Return the probabilities of a slab, each line a picture of its own.

    Args:
        model: model of one class.
        survey: survey of the job.
        job: how they are computed.
        slab: lines to segment.
        finished: called after each line.

    Returns:
        (line, trace, sample), NaN for lines that are not chosen and for traces that are missing, marked as dead, or
        equal in all samples, such as traces of zeros.
    """
    chosen = job.chosen(survey, slab.direction)[slab.part]
    values = survey[slab.part] if slab.direction == "inline" else survey[:, slab.part].transpose(1, 0, 2)
    options = asdict(job.prediction) | {"normalize": (job.statistics.median, job.statistics.deviation)}
    result = np.full(values.shape, np.nan, np.float32)
    for row in np.flatnonzero(chosen).tolist():
        if np.isfinite(values[row]).any():
            result[row] = predict_tiled(model, np.ascontiguousarray(values[row].T), **options).T
        if finished is not None:
            finished()
    return result
