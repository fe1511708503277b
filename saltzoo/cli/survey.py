"""segment_survey: probabilities or a mask of salt for a survey, in its geometry."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._version import __version__
from ..contracts import MaskModel
from ..inference._resume import digest_of
from ..seismic import Survey
from ..seismic.survey import Direction
from ..zoo.members import as_module, tile_size_of
from .assembling import assemble, finish
from .parts import Parts, digest_of_run, has_plan
from .segmenting import Prediction, check_model
from .slabs import Job, Slab, compute_slab, steps_of
from .survey_notes import describe_job, notes_of, sidecar_of
from .survey_plan import Lines, Plan, assembling_folder, parts_folder
from .survey_space import check_space

Progress = Callable[[int, int], object]


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
    resume: bool = False,
    shard: tuple[int, int] | None = None,
    dask: str | None = None,
    reading: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the probabilities of salt in a survey as a volume of the same geometry, and NAME.json beside it.

    Each line is a picture of its own. Amplitudes are scaled by the median and the robust deviation of the survey, which
    are written into NAME.json and the text header, or the attribute `notes` of zarr. Two directions are joined by the
    mean of their logits.

    Memory holds a slab of inlines or a block of crosslines. Finished slabs wait in a hidden folder beside the result,
    .NAME.parts, 4 bytes a sample for each direction; if the process is killed, they stay there for `resume`, and the
    result has the same bytes. The process that finds all slabs finished assembles the volumes, which get their names
    when all are complete.

    Missing and dead traces, traces whose samples are all equal, such as zeros, and lines that are not chosen are NaN in
    zarr and 0 in SEG-Y and masks.

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
        label: name of the model for the notes, by which workers of dask load it.
        overwrite: whether files that are there are replaced.
        resume: whether to go on with an interrupted run of the same options.
        shard: (number from 1, count) to compute every count-th slab only, beside other processes; None for all.
        dask: address of a scheduler, or "local:N" for N processes here; None to compute in this process.
        reading: options of `open_survey` that the survey was opened with.
        progress: called with the number of finished lines and that of all that this call computes.

    Returns:
        What NAME.json holds: the files, options, statistics, and the fraction of salt among samples with an answer. If
        other shards have slabs left, their number as "slabs_left", and no volume is there.

    Raises:
        FileExistsError: if a file is there and is not to be replaced, or slabs of an interrupted run are.
        ImportError: if zarr or dask is not installed and needed.
        OSError: if a file cannot be written, or the disk has too little space; then no file has its name.
        ValueError: if an option is wrong, the model reads more than pictures, or no trace is live.
    """
    plan = Plan(survey, out, tuple(directions), lines, disagreement, overwrite, resume, shard)
    plan.check()
    how = replace(prediction or Prediction(), normalize="survey")
    how = replace(how, tile=how.tile or tile_size_of(as_module(model)))
    check_model(model, replace(how, normalize="image"))
    limit = model.threshold if threshold is None else threshold
    job = _job(model, plan, how, label=label, mask=mask, threshold=limit, reading=reading or {})
    if earlier := _finished(plan, job):
        return earlier
    parts = _open_parts(plan, job)
    if parts.complete() is None and (waiting := _compute_left(model, plan, parts, dask=dask, progress=progress)):
        return describe_job(plan, parts.job) | {"slabs": len(parts.job.slabs(survey)), "slabs_left": waiting}
    return _assemble(plan, parts)


def _job(
    model: MaskModel,
    plan: Plan,
    how: Prediction,
    *,
    label: str,
    mask: bool,
    threshold: float,
    reading: dict[str, Any],
) -> Job:
    survey = plan.survey
    file = survey.path / "zarr.json" if (survey.path / "zarr.json").is_file() else survey.path
    return Job(
        survey=str(survey.path.resolve()),
        reading=reading,
        size=file.stat().st_size,
        modified=file.stat().st_mtime_ns,
        shape=survey.shape,
        directions=plan.directions,
        lines=plan.lines,
        steps=steps_of(survey),
        statistics=survey.robust_statistics(),
        prediction=how,
        model=label,
        weights=digest_of(as_module(model)),
        mask=mask,
        threshold=threshold,
        disagreement=None if plan.disagreement is None else plan.disagreement.name,
        version=__version__,
    )


def _finished(plan: Plan, job: Job) -> dict[str, Any]:
    """Return the sidecar of a complete result of this run, where its files are left as they are; {} if there is none.

    Raises:
        FileExistsError: if files of another run are there and are not to be replaced, or another process assembles the
            result.
    """
    plan.check_parts()  # again: a process of another shard may have begun to assemble since the first check
    assembling = assembling_folder(plan.out)
    if parts_folder(plan.out).exists() or has_plan(assembling):
        return {}
    earlier = sidecar_of(plan) if plan.resume or plan.shard is not None else {}
    if earlier.get("run") == digest_of_run(job):
        if plan.shard is None:  # else the process that assembled may be removing it
            shutil.rmtree(assembling, ignore_errors=True)
        return earlier
    if not plan.overwrite:
        plan.check_files()
    return {}


def _open_parts(plan: Plan, job: Job) -> Parts:
    """Return the parts of this run, after those of another are removed or those of an interrupted one are found."""
    folder, assembling = parts_folder(plan.out), assembling_folder(plan.out)
    if plan.shard is None and not plan.resume:
        for leftover in (folder, assembling):  # Plan.check allows them only if they are to be replaced
            shutil.rmtree(leftover, ignore_errors=True)
    elif plan.resume and has_plan(assembling):
        assembling.rename(folder)
    for leftover in (folder, assembling):
        if leftover.exists() and not has_plan(leftover):  # the rest of a removal that was interrupted
            shutil.rmtree(leftover, ignore_errors=True)
    return Parts.open(folder, job)


def _compute_left(model: MaskModel, plan: Plan, parts: Parts, *, dask: str | None, progress: Progress | None) -> int:
    """Compute the slabs of this process, and return the number of those that other shards have to compute.

    Raises:
        FileExistsError: if a file of the result is there and is not to be replaced.
        OSError: if the disk has too little space.
    """
    if not plan.overwrite:
        plan.check_files()
    slabs = parts.job.slabs(plan.survey)
    number, count = plan.shard or (1, 1)
    left = [slab for slab in slabs[number - 1 :: count] if not parts.has(slab)]
    try:
        check_space(plan, parts, slabs)
        _compute(model, plan.survey, parts, left, dask=dask, progress=progress)
    finally:
        if plan.shard is None and not any(map(parts.has, slabs)):
            parts.remove()
    waiting = sum(not parts.has(slab) for slab in slabs)
    return waiting if parts.folder.exists() else 0  # it is gone if the process of another shard assembles the result


def _compute(
    model: MaskModel,
    survey: Survey,
    parts: Parts,
    slabs: Sequence[Slab],
    *,
    dask: str | None,
    progress: Progress | None,
) -> None:
    """Compute and store slabs, here or on the workers of dask."""
    lines = {slab: int(parts.job.chosen(survey, slab.direction)[slab.part].sum()) for slab in slabs}
    count, finished = sum(lines.values()), 0

    def add(number: int) -> None:
        nonlocal finished
        finished += number
        if progress is not None:
            progress(finished, count)

    if dask is not None and slabs:
        from .survey_dask import compute_on_dask

        for slab in compute_on_dask(dask, parts, slabs, device=_device_of(model)):
            add(lines[slab])
        return
    for slab in slabs:
        parts.write(slab, compute_slab(model, survey, parts.job, slab, finished=lambda: add(1)))


def _device_of(model: MaskModel) -> str:
    """Return the type of a model's device; a model of another runtime has no parameters, and is on the CPU."""
    return next((parameter.device.type for parameter in as_module(model).parameters()), "cpu")


def _assemble(plan: Plan, parts: Parts) -> dict[str, Any]:
    """Assemble the result from all slabs, or finish what an interrupted process assembled, and return its sidecar."""
    claimed = parts.claim(assembling_folder(plan.out))
    if claimed is None:  # the process of another shard was faster
        return describe_job(plan, parts.job) | {"slabs": len(parts.job.slabs(plan.survey)), "slabs_left": 0}
    found = claimed.complete()
    try:
        if found is None:
            notes = notes_of(plan, claimed.job)
            salt = assemble(plan.survey, claimed, plan.out, plan.disagreement, notes=notes)
            found = describe_job(plan, claimed.job) | {"salt": salt}
            claimed.set_complete(found)
        finish(claimed, found, plan.volumes, plan.sidecar, overwrite=plan.overwrite)
    except BaseException:
        if has_plan(claimed.folder):
            claimed.claim(parts.folder)  # for a call with `resume`; after a kill, that call does it
        raise
    return found
