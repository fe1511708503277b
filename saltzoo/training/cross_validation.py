"""Training on all folds but one, for each fold: a score on every labelled tile by a network that has not seen it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Tiles
from .recipe import Recipe
from .run import fit
from .state import STATE


def cross_validate(
    recipe: Recipe,
    tiles: Tiles,
    out: str | Path,
    *,
    resume: bool = False,
    tell: Callable[[str], None] = print,
    **options: Any,
) -> dict[str, float]:
    """Runs a recipe once for each of its folds.

    Args:
        recipe: what to do; its own fold is not looked at.
        tiles: with masks.
        out: a folder; the run of fold K is in `out/foldK`.
        resume: go on where a call before was stopped: what is done is read, not repeated.
        tell: takes lines of text.
        **options: of `fit`: seed, device, data, license, unlabelled, save_every.

    Returns:
        The scores of `fit` over all tiles, each scored by the network of its fold.

    Raises:
        ValueError, OSError: as `fit` does.
    """
    folds = recipe.split_tiles(tiles)
    sums: dict[str, float] = {}
    for fold in range(recipe.folds):
        folder = Path(out) / f"fold{fold}"
        tell(f"fold {fold} of {recipe.folds}")
        started = resume and (folder / STATE).exists()
        scores = fit(recipe, tiles, folder, fold=fold, resume=started, tell=tell, **options)
        for name, score in scores.items():
            sums[name] = sums.get(name, 0.0) + score * int(np.count_nonzero(folds == fold))
    return {name: total / len(tiles) for name, total in sums.items()}
