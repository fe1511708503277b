"""The beginning of a run, new or resumed: everything that it needs is checked before any training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..data import Tiles
from .artifacts import Artifacts
from .digests import TileDigests
from .evaluation import evaluate
from .leakage import check_leakage
from .process import Process
from .resume import History, Identity, SavedRun, save_state
from .scalars import check_depths, reads_scalar
from .stored_labels import digest_of, read_labels, write_labels
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
    recipe = artifacts.recipe
    if saved is not None and saved.labels is None:
        return identity, None
    if saved is not None and saved.labels is not None and unlabelled is not None:
        stored = read_labels(artifacts.out, unlabelled, saved.labels)
        if stored is not None:
            return replace(identity, labels=saved.labels, teachers=tuple(saved.identity["teachers"])), stored
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
    if classes != 1:
        raise ValueError(
            f"fit trains models of one class, salt, as masks of Tiles are bool, got num_classes={classes} in "
            f"model.options: leave it out, or write a loop of your own for several classes"
        )
    evaluate(trainer.kept, artifacts.validation.select([0]), process, amp=recipe.amp == "bf16")
