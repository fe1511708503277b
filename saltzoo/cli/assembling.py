"""assemble: the volumes of a survey from the finished slabs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .._files import check_absent, give_name
from ..seismic import SlabWriter, Survey, open_like
from ..seismic.survey import Direction
from .parts import Parts
from .slabs import Floats, Slab

_EPS = 1e-7
"""Least distance of a probability from 0 and 1 in a mean of logits."""


def assemble(survey: Survey, parts: Parts, out: Path, disagreement: Path | None, *, notes: Sequence[str]) -> float:
    """Write the volumes, each in a hidden folder beside its place, and return the fraction of salt.

    Args:
        survey: survey of the job.
        parts: all slabs.
        out: new volume of probabilities, or of a mask.
        disagreement: new volume for half of the difference of both directions; None for none.
        notes: lines for the text header, or the attribute `notes` of zarr.
    """
    targets = [out] if disagreement is None else [out, disagreement]
    for target in targets:
        shutil.rmtree(_folder(target), ignore_errors=True)  # of an assembly that was interrupted
        _folder(target).mkdir(parents=True)
    try:
        return _write(survey, parts, out, disagreement, notes=notes)
    except BaseException:
        for target in targets:
            shutil.rmtree(_folder(target), ignore_errors=True)
        raise


def _write(survey: Survey, parts: Parts, out: Path, disagreement: Path | None, *, notes: Sequence[str]) -> float:
    job, salt, known = parts.job, 0, 0
    with ExitStack() as stack:
        volume: SlabWriter = stack.enter_context(open_like(survey, assembled(out), mask=job.mask, notes=notes))
        second: SlabWriter | None = None
        if disagreement is not None:
            told = [f"Disagreement of inlines and crosslines; {out.name} is their mean", *notes[1:]]
            second = stack.enter_context(open_like(survey, assembled(disagreement), name="disagreement", notes=told))
        step = job.steps["inline"]
        slabs = {direction: _slabs_of(parts, survey, direction) for direction in job.directions}
        for first in range(0, job.shape[0], step):
            part = slice(first, min(first + step, job.shape[0]))
            found = [_inlines(parts, slabs[direction], direction, part) for direction in job.directions]
            probabilities = found[0] if len(found) == 1 else mean_of_logits(*found)
            is_salt = probabilities > job.threshold
            salt, known = salt + int(is_salt.sum()), known + int(np.isfinite(probabilities).sum())
            volume.write(first, is_salt if job.mask else probabilities)
            if second is not None:
                second.write(first, np.abs(found[0] - found[1]) / 2)
    return salt / max(known, 1)


def finish(parts: Parts, found: dict[str, Any], targets: Sequence[Path], sidecar: Path, *, overwrite: bool) -> None:
    """Give the complete files of a result their names, and remove the parts; an interrupted call can be repeated.

    Args:
        parts: of a result that is complete.
        found: what the sidecar holds.
        targets: volumes that `assemble` wrote.
        sidecar: file of the options and statistics.
        overwrite: whether what is there is replaced.

    Raises:
        FileExistsError: if a file is there and is not to be replaced.
        OSError: if a file cannot be written.
    """
    waiting = [target for target in targets if assembled(target).exists()]
    if not overwrite:
        for target in waiting:
            check_absent(target)
    for target in waiting:
        give_name(assembled(target), target, overwrite=overwrite)
    for target in targets:
        shutil.rmtree(_folder(target), ignore_errors=True)
    part = parts.folder / sidecar.name
    part.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    part.replace(sidecar)
    parts.remove()


def assembled(target: Path) -> Path:
    """Return where a volume is until all volumes are complete."""
    return _folder(target) / target.name


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


def _folder(target: Path) -> Path:
    return target.with_name(f".{target.name}.whole")


def _slabs_of(parts: Parts, survey: Survey, direction: Direction) -> list[Slab]:
    return [slab for slab in parts.job.slabs(survey) if slab.direction == direction]


def _inlines(parts: Parts, slabs: Sequence[Slab], direction: Direction, part: slice) -> Floats:
    """Return the probabilities of consecutive inlines from one direction, (inline, crossline, sample)."""
    _, crosslines, samples = parts.job.shape
    result = np.full((part.stop - part.start, crosslines, samples), np.nan, np.float32)
    for slab in slabs:
        if direction == "inline":
            if slab.first == part.start:
                result[:] = parts.read(slab, slice(0, slab.stop - slab.first), slice(0, crosslines))
        else:
            values = parts.read(slab, slice(0, slab.stop - slab.first), part)
            result[:, slab.part] = values.transpose(1, 0, 2)
    return result
