"""Cross-validation: a run for each fold, so that each labelled tile is scored by a network that has not seen it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from .._checks import check_flags
from ..data import Tiles
from .artifacts import Artifacts
from .classes import with_labels
from .fit import fit
from .leakage import check_leakage
from .process import Process
from .recipe import Recipe
from .resume import STATE, check_folder
from .sampling import Sampler
from .tile_checks import checked_folds


def cross_validate(
    recipe: Recipe,
    tiles: Tiles,
    out: str | Path,
    *,
    unlabelled: Tiles | None = None,
    seed: int | None = None,
    device: str | torch.device = "cpu",
    data: str = "tiles",
    license: str = "other",
    resume: bool = False,
    save_every: int = 1,
    tell: Callable[[str], None] = print,
) -> dict[str, float]:
    """Run a recipe once for each of its folds.

    Args:
        recipe: the recipe; its fold is not used.
        tiles: tiles with masks.
        out: folder; the run of fold K is in `out/foldK`.
        resume: continue where an earlier call stopped; finished runs are read, not repeated.
        unlabelled: tiles for the recipe's student.
        seed: seed of all runs; None for the recipe's.
        device: "cpu", "cuda" or "cuda:N".
        data: name of the data, for the model cards.
        license: licence of the weights.
        save_every: number of epochs between two saves of a run.
        tell: called with lines of text.

    Returns:
        The scores of `fit` over all tiles, each scored by the network of its fold: the mean over folds, weighted by
        their numbers of tiles. That of a class's IoU is over the folds that have one.

    Raises:
        ValueError, OSError: as `fit` does. Folds without tiles, folders that hold other runs, and weights that have
            seen tiles of a fold are refused before the first run.
    """
    check_flags(resume=resume)
    tiles = with_labels(recipe, tiles)
    folds = checked_folds(recipe, tiles, validating=range(recipe.folds))
    folders = [Path(out) / f"fold{fold}" for fold in range(recipe.folds)]
    started = [resume and (folder / STATE).exists() for folder in folders]
    for fold, folder in enumerate(folders):  # before hours of training in the first
        check_folder(folder, resume=started[fold])
        one, held_out = replace(recipe, fold=fold), tiles.select(folds == fold)
        Sampler.of(one, Process.current(device), labelled=len(tiles) - len(held_out), pseudo=0)
        if not started[fold]:
            check_leakage(one, Artifacts(one, held_out, folder, data=data, license=license, machine="").held_out)
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for fold in range(recipe.folds):
        tell(f"fold {fold} of {recipe.folds}")
        scores = fit(
            recipe,
            tiles,
            folders[fold],
            unlabelled=unlabelled,
            fold=fold,
            seed=seed,
            device=device,
            data=data,
            license=license,
            resume=started[fold],
            save_every=save_every,
            tell=tell,
        )
        count = int(np.count_nonzero(folds == fold))
        for name, score in scores.items():
            sums[name], counts[name] = sums.get(name, 0.0) + score * count, counts.get(name, 0) + count
    return {name: total / counts[name] for name, total in sums.items()}
