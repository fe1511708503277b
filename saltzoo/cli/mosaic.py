"""`saltzoo mosaic`: tiles put back beside their neighbours."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import command, json_option, overwrite_option

if TYPE_CHECKING:
    from ..data import Mosaics, Tiles
    from ..data.neighbours import Method

TABLE = "mosaics.csv"
DOWNLOADED = ("train.zip", "test.zip", "train/images", "test/images", "images")
"""What a folder of the competition's download holds one or more of."""


@command("mosaic", example="saltzoo mosaic DIR --out mosaics --count 10")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the files.")
@click.option(
    "--method",
    type=click.Choice(["mutual", "ratio", "distance"]),
    default="mutual",
    show_default=True,
    help="Which of the nearest edges are pairs, as saltzoo.data.find_neighbours says.",
)
@click.option(
    "--count", type=click.IntRange(0), default=10, show_default=True, help="Number of the largest mosaics to draw."
)
@overwrite_option
@json_option
def mosaic(folder: Path, *, out: Path, method: Method, count: int, overwrite: bool, as_json: bool) -> int:
    """Put tiles back beside their neighbours.

    DIR is the competition's download, of which train and test are searched together, or a folder of gray tiles of one
    size. Tiles are neighbours if their edges continue each other. OUT gets mosaics.csv, with the mosaic, the row and
    the column of each tile (mosaic 0 has the most tiles), and mosaic_0.png, mosaic_1.png, ... of the largest mosaics.
    """
    if not folder.is_dir():
        raise click.UsageError(f"DIR must be a folder, and {folder} does not exist or is a file")
    from ..data import assemble, find_neighbours
    from .outputs import check_absent, check_folder

    files = [out / TABLE, *(out / f"mosaic_{number}.png" for number in range(count))]
    try:
        check_folder(out)
        if not overwrite:
            check_absent(files, "or replace with --overwrite")
    except OSError as error:
        raise click.UsageError(str(error)) from error
    tiles = _read(folder)
    pairs = find_neighbours(tiles, method=method)
    mosaics = assemble(pairs)
    drawn = _write(mosaics, tiles, files, overwrite=overwrite)
    joined = mosaics.sizes[mosaics.sizes > 1]
    found = {
        "file": str(files[0]),
        "pictures": [str(file) for file in drawn],
        "tiles": len(tiles),
        "pairs": len(pairs),
        "contradicted": int(mosaics.contradicted.sum()),
        "mosaics": len(joined),
        "joined": int(joined.sum()),
        "largest": int(mosaics.sizes[0]),
    }
    text = (
        f"{files[0]}: {found['joined']} of {found['tiles']} tiles in {found['mosaics']} mosaics, the largest of "
        f"{found['largest']} tiles; pictures: {len(drawn)}"
    )
    print(json.dumps(found) if as_json else text)
    return 0


def _read(folder: Path) -> Tiles:
    """Read both splits of the download, those that are there, or a folder of tiles.

    Raises:
        FileNotFoundError: if there is no tile.
        ValueError: if a file cannot be read, or tiles differ in size.
    """
    import numpy as np

    from ..data import Tiles, read_tgs

    if not any((folder / name).exists() for name in DOWNLOADED):
        return _read_pictures(folder)
    splits = [
        read_tgs(folder, split=split)
        for split in ("train", "test")
        if (folder / f"{split}.zip").exists() or (folder / split / "images").exists()
    ] or [read_tgs(folder, split="train" if (folder / "masks").exists() else "test")]
    return Tiles(
        tuple(id_ for tiles in splits for id_ in tiles.ids), np.concatenate([tiles.images for tiles in splits])
    )


def _read_pictures(folder: Path) -> Tiles:
    import numpy as np

    from ..data import Tiles
    from ..seismic import as_uint8, find_pictures, read_picture

    paths = find_pictures([folder])
    images = [as_uint8(read_picture(path)) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"tiles must be of one size, got {image.shape[0]} x {image.shape[1]} in {path.name} and "
                f"{images[0].shape[0]} x {images[0].shape[1]} in {paths[0].name}: give a folder of tiles alone"
            )
    return Tiles(tuple(path.stem for path in paths), np.stack(images))


def _write(mosaics: Mosaics, tiles: Tiles, files: Sequence[Path], *, overwrite: bool) -> list[Path]:
    """Write the pictures of the largest mosaics of two tiles or more, and the table last; return the pictures."""
    from ..data import mosaic_picture
    from ..seismic import write_picture
    from ..seismic.writers import whole_file

    table, *pictures = files
    drawn = [file for file, size in zip(pictures, mosaics.sizes.tolist(), strict=False) if size > 1]
    for number, file in enumerate(drawn):
        write_picture(file, mosaic_picture(mosaics, tiles.images, number=number), overwrite=overwrite)
    for stale in pictures[len(drawn) :]:  # of an earlier call, which --overwrite replaces
        if os.path.lexists(stale):
            stale.unlink()
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("id", "mosaic", "row", "column"))
    places = (values.tolist() for values in (mosaics.number, mosaics.row, mosaics.column))
    rows.writerows(zip(mosaics.ids, *places, strict=True))
    with whole_file(table, overwrite=overwrite) as opened:
        opened.write(text.getvalue().encode())
    return drawn
