"""`saltzoo report`: horizons, bodies and a page to look at, from a finished volume of salt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import READING, AnyNumber, Number, command, json_option, overwrite_option, path_option, survey_options

if TYPE_CHECKING:
    from .products import Request


@command(
    "report",
    example="saltzoo report salt.sgy --horizons horizons --bodies bodies.csv --min-voxels 1000 --qc page.png",
)
@click.argument("salt", metavar="SALT", type=click.Path(path_type=Path))
@path_option("--survey", "PATH", "Survey that was segmented; default: that which SALT's .json names.")
@path_option(
    "--horizons",
    "DIR",
    "Folder of top and base of salt: .csv (il, xl, x, y, z) and .irap (IRAP classic), and crossings.csv.",
    folder=True,
)
@path_option(
    "--bodies", "FILE.csv", "Table of connected bodies, the largest first: id, voxels, first and last line and sample."
)
@path_option("--mask", "PATH", "New volume: the mask without small bodies, in 8 bits.")
@path_option(
    "--qc", "FILE.png", "Page: sections, a slice, the amplitudes beside those of the training tiles, the disagreement."
)
@path_option("--disagreement", "PATH", "Volume of the disagreement for --qc; default: that which SALT's .json names.")
@click.option(
    "--at",
    nargs=3,
    type=AnyNumber(),
    metavar="INLINE CROSSLINE TIME",
    help="Numbers of the lines, and time or depth, that --qc shows; default: those with the most salt.",
)
@click.option(
    "--threshold",
    type=Number(0, 1, min_open=True, max_open=True),
    help="Probability above which a sample is salt; default: that in SALT's .json, else .5.",
)
@click.option(
    "--min-voxels",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Voxels below which a body is left out of --horizons, --bodies and --mask.",
)
@click.option(
    "--connectivity",
    type=click.Choice(["6", "26"]),
    default="6",
    show_default=True,
    help="Voxels that share a face (6), or also an edge or a corner (26), are of one body.",
)
@survey_options
@overwrite_option
@json_option
def report(salt: Path, *, as_json: bool, **options: Any) -> int:
    """Write what interpreters need from a finished volume of salt.

    SALT is what `saltzoo predict` wrote for a survey: probabilities or a mask, as SEG-Y or zarr; any such volume will
    do. Choose one or more of --horizons, --bodies, --mask and --qc. Volumes are read in slabs. --bodies, --mask and
    --min-voxels need scipy: pip install "saltzoo[segy]".
    """
    from .products import make_products
    from .progress import counter

    request = _request(salt, options)
    try:
        with counter(unit="inline", quiet=as_json) as progress:
            found = make_products(request, progress=progress)
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise click.ClickException(f"{salt}: {error}") from error
    print(json.dumps(found) if as_json else "\n".join(_lines(found)))
    return 0


def _request(salt: Path, options: dict[str, Any]) -> Request:
    """Return what to do; what cannot be done is a wrong command line, with status 2."""
    from .products import Products, plan_products

    products = Products(horizons=options["horizons"], bodies=options["bodies"], mask=options["mask"], qc=options["qc"])
    if not products.any:
        raise click.UsageError("nothing to write: give one or more of --horizons, --bodies, --mask, --qc")
    for name in ("at", "disagreement"):
        if options[name] is not None and products.qc is None:
            raise click.UsageError(f"--{name} is of the page, and there is no --qc: add --qc FILE.png, or leave it out")
    reading = {name: options[name] for name in READING}
    try:
        return plan_products(
            salt,
            products,
            survey=options["survey"],
            disagreement=options["disagreement"],
            at=options["at"],
            threshold=options["threshold"],
            min_voxels=options["min_voxels"],
            connectivity=int(options["connectivity"]),
            reading=reading,
            overwrite=options["overwrite"],
        )
    except (ValueError, OSError, ImportError) as error:
        raise click.UsageError(str(error)) from error


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['volume']}: {found['salt']:.1%} salt above {found['threshold']:g}"]
    if horizons := found["horizons"]:
        overhung = f", {horizons['overhangs']} with an overhang" if horizons["overhangs"] else ""
        lines.append(f"{horizons['folder']}: top of salt in {horizons['traces']} traces{overhung}")
        if horizons["without_grids"]:
            lines.append(f"no IRAP grids: {horizons['without_grids']}")
    if bodies := found["bodies"]:
        lines.append(
            f"{bodies['count']} bodies, {bodies['kept']} of {found['min_voxels']} voxels or more, the largest of "
            f"{bodies['largest']}" + (f" -> {bodies['file']}" if bodies["file"] else "")
        )
    lines += [f"mask -> {found['mask']}"] if found["mask"] else []
    if page := found["qc"]:
        lines.append(
            f"page of inline {page['at'][0]}, crossline {page['at'][1]} and {page['at'][2]:g} -> {page['file']}"
        )
    return lines
