"""The beginning of a run, new or resumed: everything that it needs is checked before any training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Tiles
from .artifacts import Artifacts
from .digests import TileDigests
from .evaluation import evaluate
from .history import History
from .leakage import check_leakage
from .process import Process
from .resume import Identity, SavedRun, save_state
from .scalars import check_depths, reads_scalar
from .stored_labels import LABELS, digest_of, read_labels, write_labels
from .student import check_unlabelled, pseudo_label
from .synthetic_pool import check_synthetic
from .trainer import Trainer
from .training_only import check_training_options

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """What stays the same over the epochs of a run.

    Attributes:
        process: this process.
        artifacts: writes checkpoints and the picture.
        trainer: model, optimiser and their steps.
        identity: what a resumed run must have in common with this one.
        pseudo: pseudo-labelled tiles of a recipe with a student.
        tell: called with lines of text.
    """

    process: Process
    artifacts: Artifacts
    trainer: Trainer
    identity: Identity
    pseudo: Tiles | None
    tell: Tell

    def begin(self) -> None:
        """Make the folder, with what a resumed run needs beside its state."""
        self.artifacts.out.mkdir(parents=True, exist_ok=True)
        if self.pseudo is not None and self.process.main:
            write_labels(self.artifacts.out, self.pseudo)

    def save_state(self, history: History) -> None:
        """Write the state of the run."""
        trainer = self.trainer
        preprocess = trainer.model.preprocess
        save_state(self.artifacts.out, trainer.parts, self.identity, preprocess=preprocess, history=history)


def open_run(
    artifacts: Artifacts,
    tiles: Tiles,
    folds: Any,
    *,
    unlabelled: Tiles | None,
    saved: SavedRun | None,
    process: Process,
    tell: Tell,
) -> Run:
    """Check what the recipe names, label the unlabelled tiles and build the trainer, with the state of a saved run.

    Args:
        artifacts: files of the run.
        tiles: labelled tiles of all folds, sorted by id.
        folds: fold of each.
        unlabelled: tiles of the recipe's student, sorted by id.
        saved: run that continues; None for a new one.
        process: this process.
        tell: called with lines of text.

    Raises:
        ValueError, OSError: as `fit` does.
    """
    recipe = artifacts.recipe
    check_unlabelled(recipe.student, tiles, unlabelled)
    check_synthetic(recipe.synthetic, tiles)
    identity = Identity(
        recipe,
        artifacts.data,
        TileDigests.of(tiles, folds=folds, depths=True),
        None if unlabelled is None else TileDigests.of(unlabelled, depths=True),
    )
    if saved is not None:
        saved.check_data(identity.data, identity.tiles, identity.unlabelled)
    identity, pseudo = _labelled(artifacts, identity, unlabelled, saved, process, tell)
    trainer = Trainer(
        recipe,
        tiles.select(folds != recipe.fold),
        device=process.device,
        pseudo=pseudo,
        restored=None if saved is None else saved.preprocess,
    )
    check_training_options(recipe.model, trainer.model)
    if reads_scalar(trainer.model):
        check_depths(artifacts.validation, "validation tiles")
    _rehearse(artifacts, trainer, process)
    if saved is not None:
        saved.restore(trainer.parts)
    if recipe.synthetic is not None:
        start = time.perf_counter()
        count = trainer.draw_synthetic(0 if saved is None else len(saved.history))
        tell(f"synthetic tiles: {count} drawn in {time.perf_counter() - start:.1f} s")
    return Run(process, artifacts, trainer, identity, pseudo, tell)


def _labelled(
    artifacts: Artifacts,
    identity: Identity,
    unlabelled: Tiles | None,
    saved: SavedRun | None,
    process: Process,
    tell: Tell,
) -> tuple[Identity, Tiles | None]:
    """Return the pseudo-labelled tiles of a student, and the identity with their digest.

    A resumed run reads them from its folder, and needs teachers only if the file is gone.
    """
    if saved is None:
        return _labels_made(artifacts, identity, unlabelled, saved, process, tell)
    if saved.labels is None or unlabelled is None:
        return identity, None
    stored = read_labels(artifacts.out, unlabelled, saved.labels)
    if stored is not None:
        return replace(identity, labels=saved.labels, teachers=tuple(saved.identity["teachers"])), stored
    with _loss_explained(artifacts.out / LABELS):
        return _labels_made(artifacts, identity, unlabelled, saved, process, tell)


@contextmanager
def _loss_explained(labels: Path) -> Iterator[None]:
    """Say that pseudo-labels are made again because the file that holds them is lost, if that fails."""
    try:
        yield
    except (OSError, ValueError) as error:
        lost = "is damaged or of another run" if labels.exists() else "is missing"
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(
            f"{labels} {lost}, and the pseudo-labels cannot be made again: {error}. Put back this file, or the "
            f"teachers with which the run began"
        ) from error


def _labels_made(
    artifacts: Artifacts,
    identity: Identity,
    unlabelled: Tiles | None,
    saved: SavedRun | None,
    process: Process,
    tell: Tell,
) -> tuple[Identity, Tiles | None]:
    """Return the tiles that the teachers label, after a check of all weights that the recipe names."""
    recipe = artifacts.recipe
    start = recipe if saved is None else replace(recipe, model=replace(recipe.model, grow_from=None))
    weights = check_leakage(start, artifacts.held_out)
    for line in weights.warnings:
        tell(line)
    if recipe.student is None or unlabelled is None:
        return identity, None
    pseudo = pseudo_label(recipe.student, unlabelled, process, amp=recipe.amp == "bf16")
    empty = float((pseudo.coverage == 0).mean())
    tell(f"pseudo-labels: {len(pseudo)} of {len(unlabelled)} tiles are kept, {empty:.1%} of them empty")
    identity = replace(identity, labels=digest_of(pseudo), teachers=weights.teachers)
    if saved is not None:
        saved.check_labels(digest_of(pseudo), weights.teachers)
    return identity, pseudo


def _rehearse(artifacts: Artifacts, trainer: Trainer, process: Process) -> None:
    """Score one tile: what cannot be scored fails before the first epoch and not after it."""
    model, recipe = trainer.model, artifacts.recipe
    classes = 1 if model.config is None else model.config.model_args.get("num_classes", 1)
    if classes != recipe.num_classes:
        raise ValueError(
            f"model.options must name the classes of {recipe.model.name!r}: write num_classes = {classes}, or another"
        )
    known = range(1) if recipe.ignore_index is None else _known(artifacts.validation, recipe.ignore_index)
    if not len(known):
        raise ValueError(
            f"validation tiles must hold a pixel whose label is known, got ignore_index={recipe.ignore_index} at all "
            f"pixels of {artifacts.held_out['held_out']}: validate another fold, or label some"
        )
    evaluate(
        trainer.kept,
        artifacts.validation.select([int(known[0])]),
        process,
        num_classes=classes,
        ignore_index=recipe.ignore_index,
        amp=recipe.amp == "bf16",
    )


def _known(tiles: Tiles, ignore_index: int) -> npt.NDArray[np.int64]:
    """Return the positions of tiles with a pixel that is not ignored."""
    return np.flatnonzero((tiles.require_masks() != ignore_index).any(axis=(1, 2)))
