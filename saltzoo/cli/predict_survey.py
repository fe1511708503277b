"""`saltzoo predict` for a survey: its options, and the run of one volume."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from .options import AGAIN, READING, path_option, survey_options

if TYPE_CHECKING:
    from ..seismic.survey import Direction
    from .survey_plan import Plan

F = TypeVar("F", bound=Callable[..., Any])

OF_SURVEYS = ("direction", "mask", "disagreement", "lines", "shard", "dask", *READING)
OF_PICTURES = ("min_size", "clean", "overlay", "probabilities", "value_range", "page")


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
            path_option(
                "--disagreement",
                "PATH",
                "Second volume for --direction both: half of the difference of their probabilities.",
            ),
            click.option(
                "--lines",
                metavar="FIRST:LAST:STEP",
                help="Numbers of a survey's lines to segment, the last included; default: all.",
            ),
            click.option(
                "--shard",
                metavar="I/N",
                help="Compute part I of N of a survey, from 1; the process that finds all parts finished writes OUT.",
            ),
            click.option(
                "--dask",
                metavar="ADDRESS|local:N",
                help="Compute a survey on the workers of a dask scheduler, or in N processes on this machine.",
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


def _not_given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of options that are not on the command line."""
    context = click.get_current_context()
    return {
        name: value
        for name, value in values.items()
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE
    }


def predict_survey(
    path: str,
    out: Path,
    *,
    model: str,
    fast: bool,
    device: str | None,
    overwrite: bool,
    resume: bool,
    as_json: bool,
    options: dict[str, Any],
) -> int:
    """Segment one survey, tell its volume, and return the exit status."""
    refuse_given(OF_PICTURES, "of pictures, and --out names a survey")
    if options["normalize"] == "image":
        refuse_given(("normalize",), "survey for a survey, whose samples are amplitudes")
    if options["shard"] and options["dask"]:
        raise click.UsageError("--shard and --dask share one survey out in two ways: leave one out")
    if fast and options["dask"]:
        raise click.UsageError("--fast is of this process, and workers of dask load weights as they are: leave one out")
    plan = _plan(path, out, options, overwrite=overwrite, resume=resume)
    from .loading import device_of, load_model, survey_of
    from .progress import counter
    from .segmenting import Prediction
    from .survey import segment_survey
    from .survey_plan import parts_folder

    options |= _not_given(survey_of(model))
    keys = ("tta", "tile", "overlap", "batch_size", "scale")
    prediction = Prediction(
        **{key: options[key] for key in keys}, polarity=int(options["polarity"]), normalize="survey"
    )
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
                prediction=prediction,
                label=model,
                overwrite=overwrite,
                resume=resume,
                shard=plan.shard,
                dask=options["dask"],
                reading={name: options[name] for name in READING},
                progress=progress,
            )
    except (RuntimeError, ImportError) as error:  # the device's memory is full; an extra is missing
        raise click.ClickException(" ".join(str(error).split())) from error
    finally:
        if parts_folder(out).exists() and plan.shard is None:
            print(f"finished slabs are in {parts_folder(out)}: {AGAIN}", file=sys.stderr)
    print(json.dumps(found) if as_json else _told(path, found, plan))
    return 0


def _told(path: str, found: dict[str, Any], plan: Plan) -> str:
    """Return the line that tells what is written."""
    if "salt" in found:
        others = ", ".join(str(file) for file in (plan.disagreement, plan.sidecar) if file)
        return f"{path}: {found['lines']} lines, {found['salt']:.1%} salt -> {plan.out}, {others}"
    number, count = plan.shard or (1, 1)
    if not found["slabs_left"]:
        return f"{path}: shard {number}/{count} is finished, and another process writes {plan.out}"
    return (
        f"{path}: shard {number}/{count} is finished; {found['slabs_left']} of {found['slabs']} slabs are left to "
        f"other shards, the last of which writes {plan.out}"
    )


def _plan(path: str, out: Path, options: dict[str, Any], *, overwrite: bool, resume: bool) -> Plan:
    """Return what to do; what cannot be done is a wrong command line, with status 2, but for a missing extra."""
    from ..seismic import open_survey
    from .survey_plan import Plan, parse_lines, parse_shard

    directions: dict[str, tuple[Direction, ...]] = {
        "inline": ("inline",),
        "crossline": ("crossline",),
        "both": ("inline", "crossline"),
    }
    try:
        survey = open_survey(path, **{name: options[name] for name in READING})
        lines = None if options["lines"] is None else parse_lines(options["lines"])
        shard = None if options["shard"] is None else parse_shard(options["shard"])
        chosen = directions[options["direction"]]
        plan = Plan(survey, out, chosen, lines, options["disagreement"], overwrite, resume, shard)
        plan.check()
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    return plan
