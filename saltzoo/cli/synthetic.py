"""`saltzoo synthetic`: a synthetic survey and its salt, to try the other commands on."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .options import Number, command, json_option, overwrite_option, path_option


@command("synthetic", example="saltzoo synthetic cube.sgy --mask truth.sgy --shape 128 128 256 --seed 1")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@path_option("--mask", "PATH", "Second volume: 1 for salt, in 8 bits.")
@click.option(
    "--shape",
    nargs=3,
    type=click.IntRange(1),
    default=(64, 64, 128),
    show_default=True,
    metavar="I X T",
    help="Numbers of inlines, crosslines and samples, 32 samples or more.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Number of the survey; same seed, same bytes."
)
@click.option("--polarity", type=click.Choice(["1", "-1"]), default="1", help="-1: flip the sign of every amplitude.")
@click.option(
    "--peak",
    type=Number(0.005, 0.1),
    metavar="CYCLES",
    help="Frequency that scales the band, cycles per sample; default: drawn, about .02.",
)
@overwrite_option
@json_option
def synthetic(
    out: Path,
    *,
    mask: Path | None,
    shape: tuple[int, int, int],
    seed: int,
    polarity: str,
    peak: float | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Write a synthetic survey with one body of salt.

    OUT is a new SEG-Y file (.sgy, .segy) or a folder of zarr (.zarr): inlines from 1001, crosslines from 2001, 4 ms
    between samples, lines 25 m apart on a grid that is turned by 30 degrees. It takes about 1 s for each million
    samples, and the memory of a few inlines.
    """
    from ..data import SyntheticSurvey
    from ..data.synthetic_file import check_paths

    try:
        check_paths(out, mask, overwrite=overwrite)
        survey = SyntheticSurvey(shape, seed=seed, polarity=int(polarity), peak=peak)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    try:
        survey.write(out, mask=mask, overwrite=overwrite)
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    found = {"survey": str(out), "mask": None if mask is None else str(mask), "shape": list(shape), "seed": seed}
    size = " x ".join(map(str, shape))
    print(json.dumps(found) if as_json else f"{out}: {size}, seed {seed}" + (f" -> mask {mask}" if mask else ""))
    return 0
