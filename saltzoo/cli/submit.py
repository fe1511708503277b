"""`saltzoo submit`: a submission file for the competition's test tiles."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from .options import (
    batch_size_option,
    command,
    data_option,
    device_option,
    json_option,
    min_size_option,
    model_option,
    overwrite_option,
    threshold_option,
    tta_option,
)


@command("submit", example="saltzoo submit --model saltnet_s.tgs2 --data DIR --out submission.csv --tta hflip")
@model_option
@data_option(required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("submission.csv"),
    show_default=True,
    help="File to write.",
)
@tta_option
@threshold_option
@min_size_option
@overwrite_option
@device_option
@batch_size_option
@json_option
def submit(
    model: str,
    *,
    data: Path,
    out: Path,
    tta: str | None,
    threshold: float | None,
    min_size: int | None,
    overwrite: bool,
    device: str | None,
    batch_size: int,
    as_json: bool,
) -> int:
    """Write a submission file for the competition.

    The test tiles of DIR (test.zip or test/images) are segmented. The file has a row for each tile, with its salt as
    runs of pixels counted from 1 down the columns.
    """
    if os.path.lexists(out) and not overwrite:
        raise click.UsageError(f"{out} is there already: choose another --out, or replace it with --overwrite")
    from ..data import read_tgs, write_submission
    from .outputs import check_folder

    try:
        check_folder(out.parent)
    except OSError as error:
        raise click.UsageError(str(error)) from error
    from .loading import device_of, load_model
    from .tiles import TileMasks

    chosen = device_of(device)
    masks_of = TileMasks(
        load_model(model, chosen), tta=tta, threshold=threshold, min_size=min_size, batch_size=batch_size
    )
    tiles = read_tgs(data, split="test")
    masks = masks_of.of(tiles, quiet=as_json)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_submission(out, tiles.ids, masks, overwrite=overwrite)
    empty = int((~masks.any(axis=(1, 2))).sum())
    found = {
        "file": str(out),
        "tiles": len(tiles),
        "empty": empty,
        "threshold": masks_of.threshold,
        "min_size": masks_of.min_size,
    }
    print(json.dumps(found) if as_json else f"{out}: {len(tiles)} tiles, {empty} of them without salt")
    return 0
