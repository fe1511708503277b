"""`saltzoo adapt`: a model trained further on a few labelled lines of one's own survey."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from .options import (
    READING,
    Number,
    batch_size_option,
    command,
    device_option,
    json_option,
    overwrite_option,
    polarity_option,
    scale_option,
    survey_options,
)


@command("adapt", example="saltzoo adapt cube.sgy --lines picked --out model --held inline_240")
@click.argument("survey", metavar="SURVEY")
@click.option(
    "--lines", required=True, type=click.Path(path_type=Path), help="Folder of masks named by line, or of horizons."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the new checkpoint.")
@click.option(
    "--model",
    default="saltnet_s.wide2",
    show_default=True,
    metavar="NAME.TAG",
    help="Weights to start from: a name of `saltzoo list --pretrained`, local-dir:PATH or hf-hub:ORG/NAME.",
)
@click.option("--held", metavar="LINE", help="Line that is held out, such as inline_240; default: the last.")
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True, help="Largest number of rounds.")
@click.option(
    "--patience",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Rounds without a higher IoU on the held line after which training stops.",
)
@click.option("--crops", type=click.IntRange(1), default=256, show_default=True, help="Random crops in a round.")
@batch_size_option
@click.option("--lr", type=Number(0, min_open=True), default=1e-3, show_default=True, help="Peak of the learning rate.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of crops and changes to them.")
@polarity_option
@scale_option
@survey_options
@overwrite_option
@device_option
@json_option
def adapt(survey: str, *, out: Path, as_json: bool, **options: Any) -> int:
    """Adapt a model to a survey by labelled lines.

    SURVEY is a SEG-Y file or a folder of zarr. LINES holds a mask for each of two lines or more, as inline_240.png or
    crossline_1100.png: a row for each sample, a column for each trace, 255 where there is salt; or top.csv and
    base.csv, horizons with the columns il, xl, z. Training runs in rounds of random crops. After each round the held
    line is segmented as a whole, and the weights with the highest IoU there are kept, those of the start if none is
    better. Ctrl-C keeps the best so far. Then: saltzoo predict SURVEY --model local-dir:OUT --out salt.sgy
    """
    try:
        found = _adapt(survey, out, options, quiet=as_json)
    except KeyboardInterrupt as stopped:
        print(f"interrupted: {stopped or 'nothing was written'}", file=sys.stderr)
        return 130
    if as_json:
        print(json.dumps(found))
        return 0
    where = f"{found['iou_before']:.3f} -> {found['iou']:.3f} on the held {found['held']}"
    if found["round"]:
        print(f"{out}: IoU {where}, round {found['round']} of {found['rounds']}")
    else:
        print(f"{out}: no round was better than the start ({where}); its weights are kept")
    return 0


def _adapt(path: str, out: Path, options: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Return what `saltzoo.training.adapt` returns; files that do not fit are a wrong command line, with status 2."""
    from ..seismic import open_survey, read_labelled_lines
    from ..training import adapt
    from ..training.adapt import check_out, split_lines
    from .loading import device_of

    reading = {name: options.pop(name) for name in READING}
    device = device_of(options.pop("device"))
    if device.type not in ("cpu", "cuda"):
        raise click.UsageError(f"--device must be cpu, cuda or cuda:N for training, got {device.type!r}")
    folder = options.pop("lines")
    try:
        check_out(out, overwrite=options["overwrite"])
        survey = open_survey(path, **reading)
        lines = read_labelled_lines(survey, folder)
        split_lines(lines, options["held"])
    except (ValueError, OSError, ImportError) as error:
        raise click.UsageError(str(error)) from error
    options["polarity"] = int(options["polarity"])
    return adapt(
        survey,
        lines,
        out,
        device=device,
        tell=lambda line: print(line, file=sys.stderr if quiet else sys.stdout, flush=True),
        **options,
    )
