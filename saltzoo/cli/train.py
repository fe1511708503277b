"""`saltzoo train`: train a model from a recipe."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from .options import AGAIN, command, data_option, device_option, json_option, value_range_option

ALL_FOLDS = "all"


@command("train", example="saltzoo train saltnet_s.tgs3.toml --data DIR --out runs/fold0")
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@data_option(required=False)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of your own pictures, instead of --data.")
@click.option("--masks", type=click.Path(path_type=Path), help="Folder of their masks.")
@value_range_option
@click.option("--synthetic", type=click.IntRange(1), metavar="TILES", help="Train on synthetic tiles instead.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/train"), show_default=True, help="Folder of the run."
)
@click.option("--fold", help='Fold that validates, or "all": one run per fold, in OUT/fold0, OUT/fold1, ...')
@click.option("--epochs", type=click.IntRange(1), help="Passes over the tiles, instead of the recipe's.")
@click.option("--batch-size", type=click.IntRange(1), help="Tiles in a step, instead of the recipe's.")
@click.option("--seed", type=click.IntRange(0), help="Seed, instead of the recipe's.")
@device_option
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option(
    "--save-every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="EPOCHS",
    help="Epochs between two writes of last.pt.",
)
@json_option
def train(recipe: Path, *, out: Path, fold: str | None, resume: bool, as_json: bool, **options: Any) -> int:
    """Train a model from a recipe.

    RECIPE is a TOML file, such as those in examples/recipes of the repository. The model is scored on the fold that is
    held out. OUT gets model/ (for --model local-dir:OUT/model), predictions.png, log.csv and last.pt, from which
    --resume goes on. Several processes: torchrun --nproc-per-node 2 -m saltzoo train ...
    """
    if fold not in (None, ALL_FOLDS) and not str(fold).isdecimal():
        raise click.UsageError(f"--fold must be a number or {ALL_FOLDS!r}, got {fold!r}")
    given = [name for name in ("data", "images", "synthetic") if options[name] is not None]
    if len(given) != 1:
        raise click.UsageError("give one of --data, --images with --masks, and --synthetic")
    if not recipe.is_file():
        raise click.UsageError(
            f"RECIPE must be a TOML file, and {recipe} does not exist: write one, or copy one of examples/recipes in "
            f"the repository"
        )
    try:
        scores = _train(recipe, out, fold, resume=resume, quiet=as_json, options=options)
    except KeyboardInterrupt:
        kept = f"{out} holds the last epoch that was written; {AGAIN}"
        print(f"interrupted: {kept if any(out.rglob('last.pt')) else 'nothing was written'}", file=sys.stderr)
        return 130
    if scores is None:
        return 0
    where = str(out) if fold == ALL_FOLDS else str(out / "model")
    if as_json:
        print(json.dumps({"out": where, **scores}))
    else:
        name = "salt_map" if "salt_map" in scores else "mean_iou"
        print(f"{where}: score {scores[name]:.4f}, with hflip TTA {scores[f'{name}_hflip']:.4f}")
    return 0


def _train(
    recipe_file: Path, out: Path, fold: str | None, *, resume: bool, quiet: bool, options: dict[str, Any]
) -> dict[str, float] | None:
    """Return the scores of a run, or None in all processes but the main one."""
    from ..training import cross_validate, fit, read_recipe
    from ..training.launch import launched
    from ..training.process import Process
    from ..training.tile_source import read_tiles
    from .loading import device_of

    changes = {key: options[key] for key in ("epochs", "batch_size", "seed") if options[key] is not None}
    if fold not in (None, ALL_FOLDS):
        changes["fold"] = int(str(fold))
    recipe = replace(read_recipe(recipe_file), **changes)
    device = device_of(options["device"])
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device must be cpu, cuda or cuda:N for training, got {options['device']!r}")
    keys = ("data", "images", "masks", "value_range")
    with launched(device) as chosen:
        source = read_tiles(recipe, **{key: options[key] for key in keys}, synthetic=options["synthetic"] or 0)
        scores = (cross_validate if fold == ALL_FOLDS else fit)(
            recipe,
            source.tiles,
            out,
            unlabelled=source.unlabelled,
            device=chosen,
            data=source.data,
            license=source.license,
            resume=resume,
            save_every=options["save_every"],
            tell=lambda line: print(line, file=sys.stderr if quiet else sys.stdout, flush=True),
        )
        return scores if Process.current(chosen).main else None
