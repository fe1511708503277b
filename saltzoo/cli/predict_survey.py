"""`saltzoo predict` for a survey: its options, and the run of one volume."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from .options import survey_options

if TYPE_CHECKING:
    from ..seismic.survey import Direction
    from .survey_plan import Plan

F = TypeVar("F", bound=Callable[..., Any])

READING = ("iline", "xline", "sample_format", "byte_order")
OF_SURVEYS = ("direction", "mask", "disagreement", "lines", *READING)
OF_PICTURES = ("min_size", "clean", "overlay", "probabilities", "value_range", "page", "resume")


def survey_prediction_options(function: F) -> F:
    """Add the options that hold for surveys only."""
    function = survey_options(function)
    for option in reversed(
        (
            click.option(
                "--direction",
                type=click.Choice(["inline", "crossline", "both"]),
                default="inline",
                show_default=True,
                help="Lines of a survey to segment; both: the mean of their logits.",
            ),
            click.option("--mask", is_flag=True, help="Write a survey's mask in 8 bits instead of probabilities."),
            click.option(
                "--disagreement",
                type=click.Path(path_type=Path),
                metavar="PATH",
                help="Second volume for --direction both: half of the difference of their probabilities.",
            ),
            click.option(
                "--lines",
                metavar="FIRST:LAST:STEP",
                help="Numbers of a survey's lines to segment, the last included; default: all.",
            ),
        )
    ):
        function = option(function)
    return function


def refuse_given(names: tuple[str, ...], why: str) -> None:
    """Raise UsageError if one of these options is on the command line."""
    context = click.get_current_context()
    given = [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(f"--{given[0].replace('_', '-')} is {why}: leave it out")


def predict_survey(
    path: str,
    out: Path,
    *,
    model: str,
    fast: bool,
    device: str | None,
    overwrite: bool,
    as_json: bool,
    options: dict[str, Any],
) -> int:
    """Segment one survey, tell its volume, and return the exit status."""
    refuse_given(OF_PICTURES, "of pictures, and --out names a survey")
    if options["normalize"] == "image":
        refuse_given(("normalize",), "survey for a survey, whose samples are amplitudes")
    plan = _plan(path, out, options, overwrite=overwrite)
    from .loading import device_of, load_model
    from .progress import counter
    from .segmenting import Prediction
    from .survey import segment_survey

    keys = ("tta", "tile", "overlap", "batch_size", "scale")
    loaded = load_model(model, device_of(device, model), fast=fast)
    try:
        with counter(unit="line", quiet=as_json) as progress:
            found = segment_survey(
                loaded,
                plan.survey,
                out,
                directions=plan.directions,
                lines=plan.lines,
                mask=options["mask"],
                disagreement=plan.disagreement,
                threshold=options["threshold"],
                prediction=Prediction(
                    **{key: options[key] for key in keys}, polarity=int(options["polarity"]), normalize="survey"
                ),
                label=model,
                overwrite=overwrite,
                progress=progress,
            )
    except (RuntimeError, ImportError) as error:  # the device's memory is full; an extra is missing
        raise click.ClickException(" ".join(str(error).split())) from error
    if as_json:
        print(json.dumps(found))
    else:
        others = ", ".join(str(file) for file in (plan.disagreement, plan.sidecar) if file)
        print(f"{path}: {found['lines']} lines, {found['salt']:.0%} salt -> {out}, {others}")
    return 0


def _plan(path: str, out: Path, options: dict[str, Any], *, overwrite: bool) -> Plan:
    """Return what to do; what cannot be done is a wrong command line, with status 2."""
    from ..seismic import open_survey
    from .survey_plan import Plan, parse_lines

    directions: dict[str, tuple[Direction, ...]] = {
        "inline": ("inline",),
        "crossline": ("crossline",),
        "both": ("inline", "crossline"),
    }
    try:
        survey = open_survey(path, **{name: options[name] for name in READING})
        lines = None if options["lines"] is None else parse_lines(options["lines"])
        plan = Plan(survey, out, directions[options["direction"]], lines, options["disagreement"], overwrite)
        plan.check()
    except (ValueError, OSError, ImportError) as error:
        raise click.UsageError(str(error)) from error
    return plan
