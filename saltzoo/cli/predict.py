"""`saltzoo predict`: masks of pictures, and salt in surveys."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    AGAIN,
    SURVEY_SUFFIXES,
    Number,
    batch_size_option,
    command,
    device_option,
    fast_option,
    file_model_option,
    json_option,
    min_size_option,
    overwrite_option,
    page_option,
    polarity_option,
    scale_option,
    threshold_option,
    tta_option,
    value_range_option,
)
from .predict_survey import OF_SURVEYS, predict_survey, refuse_given, survey_prediction_options

if TYPE_CHECKING:
    from .outputs import Job
    from .segmenting import Report, Segmentation


@command("predict", example="saltzoo predict lines/*.png --model saltnet_s.tgs3 --out masks --overlay --tta hflip")
@click.argument("inputs", metavar="IN...", nargs=-1, required=True)
@file_model_option
@fast_option
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the files, or a survey's volume."
)
@tta_option
@click.option("--tile", type=click.IntRange(32), help="Height and width of a tile; default: the model's.")
@click.option(
    "--overlap",
    type=Number(0, 1, max_open=True),
    default=0.5,
    show_default=True,
    help="Fraction of a tile that its neighbour covers, too.",
)
@batch_size_option
@threshold_option
@min_size_option
@click.option(
    "--clean", type=click.IntRange(0), metavar="PIXELS", help="Remove patches and fill holes smaller than this."
)
@click.option("--overlay", is_flag=True, help="Also write NAME_overlay.png, with salt in orange.")
@click.option(
    "--probabilities", type=click.Choice(["tif", "npy"]), help="Also write NAME_probability, 32-bit floating point."
)
@value_range_option
@page_option
@click.option(
    "--normalize",
    type=click.Choice(["image", "survey"]),
    default="image",
    show_default=True,
    help="image: samples are gray levels. survey: samples are amplitudes, scaled by their own statistics.",
)
@scale_option
@polarity_option
@survey_prediction_options
@overwrite_option
@click.option("--resume", is_flag=True, help="Go on after an interruption: leave out what is finished.")
@device_option
@json_option
def predict(
    inputs: tuple[str, ...],
    *,
    model: str,
    fast: bool,
    out: Path,
    overlay: bool,
    probabilities: str | None,
    overwrite: bool,
    resume: bool,
    device: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Segment pictures or a survey.

    IN are files, folders, or shell patterns in quotes. For each picture NAME.png (BMP, GIF, JPEG, PNG, PPM, TIFF,
    WEBP, .npy or .npz), OUT gets NAME_mask.png of the same size, 255 where there is salt. A picture that fails does
    not stop the others; it is told at the end, with exit status 1.

    If OUT ends with .sgy, .segy or .zarr, IN is one survey, a SEG-Y file or a folder of zarr, and OUT becomes a volume
    of its geometry: probabilities of salt, or a --mask. NAME.json beside it tells how it was made. Finished slabs wait
    in .NAME.parts beside it, for --resume, and for the processes of --shard 1/N to N/N: the last of them writes OUT.
    """
    if out.suffix.lower() in SURVEY_SUFFIXES:
        if len(inputs) > 1:
            raise click.UsageError(f"{out} is the volume of one survey, got {len(inputs)} inputs: run once for each")
        return predict_survey(
            inputs[0],
            out,
            model=model,
            fast=fast,
            device=device,
            overwrite=overwrite,
            resume=resume,
            as_json=as_json,
            options=options,
        )
    _check_pictures(inputs, out)
    from ..seismic import find_pictures
    from .outputs import plan

    how = _how(options, overwrite=overwrite, resume=resume)
    try:
        pictures = find_pictures(inputs)
        jobs = plan(pictures, out, overlay=overlay, probabilities=probabilities, overwrite=overwrite, resume=resume)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    return _run(jobs, how, model=model, fast=fast, device=device, skipped=len(pictures) - len(jobs), as_json=as_json)


def _check_pictures(inputs: Sequence[str], out: Path) -> None:
    """Raise UsageError if the command line is that of a survey, or OUT cannot be a folder."""
    surveys = [one for one in inputs if Path(one).suffix.lower() in SURVEY_SUFFIXES]
    if surveys:
        raise click.UsageError(f"--out must end with {', '.join(SURVEY_SUFFIXES)} for {surveys[0]}, got {str(out)!r}")
    refuse_given(OF_SURVEYS, "of surveys, and --out names a folder of pictures")
    if out.exists() and not out.is_dir():
        raise click.UsageError(f"--out must be a folder, got the file {out}: choose another")


def _how(options: dict[str, Any], *, overwrite: bool, resume: bool) -> Segmentation:
    """Return the options of a segmentation from those of the command line."""
    from .segmenting import Prediction, Segmentation

    if options["normalize"] == "survey" and options["value_range"]:
        raise click.UsageError("--value-range is of gray levels: leave it out with --normalize survey")
    if options["clean"] is not None and options["min_size"] is not None:
        raise click.UsageError("--clean removes small bodies, too: leave out --min-size")
    keys = ("tta", "tile", "overlap", "batch_size", "scale", "normalize")
    return Segmentation(
        Prediction(**{key: options[key] for key in keys}, polarity=int(options["polarity"])),
        value_range=options["value_range"],
        page=options["page"],
        threshold=options["threshold"],
        min_size=options["min_size"] if options["clean"] is None else options["clean"],
        fill_holes=options["clean"] or 0,
        overwrite=overwrite,
        resume=resume,
    )


def _run(
    jobs: Sequence[Job],
    how: Segmentation,
    *,
    model: str,
    fast: bool,
    device: str | None,
    skipped: int,
    as_json: bool,
) -> int:
    from .loading import device_of, load_model
    from .progress import bar, line_printer
    from .segmenting import Report, segment_pictures

    report = Report()
    chosen = device_of(device, model)
    interrupted = False
    try:
        if jobs:
            segment_pictures(
                load_model(model, chosen, fast=fast),
                jobs,
                how,
                report=report,
                progress=lambda all_jobs: bar(all_jobs, unit="picture", quiet=as_json),
                tell=line_printer(quiet=as_json),
                warn=line_printer(err=True),
            )
    except KeyboardInterrupt:
        interrupted = True
    left = len(jobs) - len(report.done) - len(report.failed)
    if as_json:
        print(json.dumps({"model": model, **asdict(report), "skipped": skipped, "left": left}))
    again = "run the same command again" if how.overwrite else AGAIN
    for line in _summary(report, len(jobs), skipped=skipped, left=left, interrupted=interrupted, again=again):
        print(line, file=sys.stderr)
    return 130 if interrupted else int(bool(report.failed))


def _summary(report: Report, count: int, *, skipped: int, left: int, interrupted: bool, again: str) -> list[str]:
    """Return lines that say what was left out, what failed, and how to go on."""
    lines = [f"done before: {skipped}"] if skipped else []
    if report.failed:
        lines += [f"failed: {len(report.failed)} of {count}"]
        lines += [f"  {one['error']}" for one in report.failed]
    if interrupted or report.stopped:
        why = "interrupted" if interrupted else f"stopped, because {report.stopped}"
        lines += [f"{why}: done {len(report.done)} of {count}, not tried {left}; {again}"]
    return lines
