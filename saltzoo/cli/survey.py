"""segment_survey: probabilities or a mask of salt for a survey, in its geometry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._version import __version__
from ..contracts import MaskModel
from ..inference import predict_tiled
from ..seismic import RobustStatistics, SlabWriter, Survey, open_like
from ..seismic.survey import Direction
from ..seismic.writers import whole_file
from .crossline import CrosslineFile, crossline_file
from .segmenting import Prediction, check_model
from .survey_plan import Lines, Plan

Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], object]

_EPS = 1e-7
"""Least distance of a probability from 0 and 1 in a mean of logits."""


def segment_survey(
    model: MaskModel,
    survey: Survey,
    out: Path,
    *,
    directions: Sequence[Direction] = ("inline",),
    lines: Lines | None = None,
    mask: bool = False,
    disagreement: Path | None = None,
    threshold: float | None = None,
    prediction: Prediction | None = None,
    label: str = "a model of saltzoo",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the probabilities of salt in a survey as a volume of the same geometry, and NAME.json beside it.

    Each line is a picture of its own. Amplitudes are scaled by the median and the robust deviation of the survey, which
    are written into NAME.json and the text header, or the attribute `notes` of zarr. Two directions are joined by the
    mean of their logits. Memory holds a slab of inlines or a block of crosslines; the probabilities of crosslines
    wait in a hidden file beside the result, of 4 bytes a sample. Missing and dead traces, and lines that are not
    chosen, are NaN in zarr and 0 in SEG-Y and masks. Files get their names when all are complete.

    Args:
        model: model of one class.
        survey: survey to segment.
        out: new volume, .sgy, .segy or .zarr.
        directions: lines that are segmented: "inline", "crossline" or both.
        lines: numbers (first, last, step) of the lines to segment, for one direction; None for all.
        mask: whether a mask, 1 for salt, is written in 8 bits instead of probabilities.
        disagreement: new volume for half of the difference of both directions' probabilities; None for none.
        threshold: probability above which a sample is salt; None for the model's.
        prediction: how probabilities are computed; its `normalize` is not used.
        label: name of the model for the notes.
        overwrite: whether files that are there are replaced.
        progress: called after each line with the number of finished lines and that of all.

    Returns:
        What NAME.json holds: the files, options, statistics, and the fraction of salt among samples with an answer.

    Raises:
        FileExistsError: if a file is there and is not to be replaced.
        ImportError: if zarr is not installed and needed.
        OSError: if a file cannot be written; then no part of it is there.
        ValueError: if an option is wrong, the model reads more than pictures, or no trace is live.
    """
    plan = Plan(survey, out, tuple(directions), lines, disagreement, overwrite)
    plan.check()
    how = prediction or Prediction()
    check_model(model, replace(how, normalize="image"))
    statistics = survey.robust_statistics()
    run = _Run(model, plan, how, statistics, progress)
    limit = model.threshold if threshold is None else threshold
    notes = _notes(plan, how, statistics, label=label, kind=f"mask, probability > {limit:g}" if mask else "probability")
    with ExitStack() as stack:
        sidecar = stack.enter_context(whole_file(plan.sidecar, overwrite=overwrite))
        volume = stack.enter_context(open_like(survey, out, mask=mask, notes=notes, overwrite=overwrite))
        second = None
        if disagreement is not None:
            told = [f"Disagreement of inlines and crosslines; {out.name} is their mean", *notes[1:]]
            second = stack.enter_context(
                open_like(survey, disagreement, name="disagreement", notes=told, overwrite=overwrite)
            )
        crosslines = None
        if "crossline" in plan.directions:
            crosslines = stack.enter_context(crossline_file(out, survey.shape))
        salt = _write(_slabs(run, crosslines), volume, second, threshold=limit, mask=mask)
        found = _description(plan, how, statistics, label=label, mask=mask, threshold=limit, salt=salt)
        sidecar.write(json.dumps(found, indent=2).encode() + b"\n")
    return found


@dataclass
class _Run:
    """A model on the lines of a survey.

    Attributes:
        model: model of one class.
        plan: what is segmented.
        how: how probabilities are computed.
        statistics: of the survey's amplitudes.
        progress: called after each line.
        finished: number of lines that are done.
    """

    model: MaskModel
    plan: Plan
    how: Prediction
    statistics: RobustStatistics
    progress: Progress | None
    finished: int = 0

    def inlines(self, part: slice) -> Floats:
        """Return probabilities from the inlines of a slab, (inline, crossline, sample)."""
        survey = self.plan.survey
        return self._segment(self.plan.chosen("inline")[part], survey.shape[1:], lambda: survey[part])

    def crosslines(self, part: slice) -> Floats:
        """Return probabilities from the crosslines of a block, (crossline, inline, sample)."""
        survey = self.plan.survey
        return self._segment(
            self.plan.chosen("crossline")[part], survey.shape[::2], lambda: survey[:, part].transpose(1, 0, 2)
        )

    def _segment(self, chosen: npt.NDArray[np.bool_], section: tuple[int, ...], read: Callable[[], Floats]) -> Floats:
        """Return the probabilities of the chosen lines of a slab (line, trace, sample), NaN for the others."""
        result = np.full((len(chosen), *section), np.nan, np.float32)
        if not chosen.any():
            return result
        slab = read()
        options = asdict(self.how) | {"normalize": (self.statistics.median, self.statistics.deviation)}
        for row in np.flatnonzero(chosen).tolist():
            if np.isfinite(slab[row]).any():
                result[row] = predict_tiled(self.model, np.ascontiguousarray(slab[row].T), **options).T
            self.finished += 1
            if self.progress is not None:
                self.progress(self.finished, self.plan.count)
        return result


def _slabs(run: _Run, crosslines: CrosslineFile | None) -> Iterator[tuple[int, list[Floats]]]:
    """Yield the index of the first inline and the probabilities of each direction, slab by slab."""
    shape, step = run.plan.survey.shape, run.plan.survey.source.slab_size()
    if crosslines is not None:
        for part in crosslines.blocks():
            crosslines.append(run.crosslines(part))
    for first in range(0, shape[0], step):
        part = slice(first, min(first + step, shape[0]))
        along = [run.inlines(part)] if "inline" in run.plan.directions else []
        yield first, along + ([crosslines.inlines(part)] if crosslines is not None else [])


def _write(
    slabs: Iterator[tuple[int, list[Floats]]],
    volume: SlabWriter,
    second: SlabWriter | None,
    *,
    threshold: float,
    mask: bool,
) -> float:
    """Write all slabs, and return the fraction of salt among the samples that have an answer."""
    salt, known = 0, 0
    for first, found in slabs:
        probabilities = found[0] if len(found) == 1 else mean_of_logits(*found)
        is_salt = probabilities > threshold
        salt, known = salt + int(is_salt.sum()), known + int(np.isfinite(probabilities).sum())
        volume.write(first, is_salt if mask else probabilities)
        if second is not None:
            second.write(first, np.abs(found[0] - found[1]) / 2)
    return salt / max(known, 1)


def mean_of_logits(first: Floats, second: Floats) -> Floats:
    """Return the probabilities whose logits are the means of those of two maps, NaN where one is NaN.

    Example:
        >>> mean_of_logits(np.float32([0.8, 0.3]), np.float32([0.2, 0.3])).astype(float).round(4).tolist()
        [0.5, 0.3]
    """
    odds = np.ones_like(first)
    for one in (first, second):
        inside = one.clip(_EPS, 1 - _EPS)
        odds *= np.sqrt(inside / (1 - inside))
    return odds / (1 + odds)


def _notes(plan: Plan, how: Prediction, statistics: RobustStatistics, *, label: str, kind: str) -> list[str]:
    """Return what the text header tells."""
    tile = how.tile or 101
    return [
        f"Salt: {kind}",
        f"saltzoo {__version__}, {label}",
        f"Lines: {' and '.join(plan.directions)}, {plan.count} of them; mean of logits"
        if len(plan.directions) > 1
        else f"Lines: {plan.directions[0]}, {plan.count} of them",
        f"Tile {tile}, overlap {how.overlap:g}, scale {how.scale[0]:g} {how.scale[1]:g}, polarity {how.polarity}, "
        f"tta {how.tta or 'none'}",
        f"Amplitudes: median {statistics.median:.6g}, robust deviation {statistics.deviation:.6g}",
    ]


def _description(
    plan: Plan, how: Prediction, statistics: RobustStatistics, *, label: str, mask: bool, threshold: float, salt: float
) -> dict[str, Any]:
    """Return what NAME.json holds."""
    options = {key: value for key, value in asdict(how).items() if key != "normalize"}
    return {
        "survey": str(plan.survey.path),
        "volume": str(plan.out),
        "disagreement": None if plan.disagreement is None else str(plan.disagreement),
        "kind": "mask" if mask else "probability",
        "model": label,
        "saltzoo": __version__,
        "shape": list(plan.survey.shape),
        "directions": list(plan.directions),
        "lines": plan.count,
        "amplitudes": asdict(statistics),
        "prediction": options,
        "threshold": threshold,
        "salt": salt,
    }
