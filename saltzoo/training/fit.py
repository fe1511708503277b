"""A training run: from a recipe and tiles to a checkpoint with its scores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from math import isnan
from pathlib import Path

import torch
import torch.distributed as dist

from .._checks import check_counts, check_flags
from ..data import Tiles
from ..models import Segmenter
from ..zoo.factory import create_model
from .artifacts import Artifacts
from .classes import with_labels
from .evaluation import Score, evaluate
from .files import full_disk_explained
from .history import EpochRecord, History, minutes_to
from .opening import Run, open_run
from .precision import denormals_flushed, with_amp_of
from .process import Process
from .recipe import Recipe
from .resume import STATE, SavedRun, check_folder
from .tile_checks import checked_folds, in_order

Tell = Callable[[str], None]

MILESTONES = (0.70, 0.75, 0.80, 0.83, 0.85)
"""Scores for which a run reports the minutes until they were reached."""


def fit(
    recipe: Recipe,
    tiles: Tiles,
    out: str | Path,
    *,
    unlabelled: Tiles | None = None,
    fold: int | None = None,
    seed: int | None = None,
    device: str | torch.device = "cpu",
    data: str = "tiles",
    license: str = "other",
    resume: bool = False,
    save_every: int = 1,
    tell: Tell = print,
) -> dict[str, float]:
    """Train a model on all folds but one, and score it on that fold.

    The order of the tiles has no influence: they are sorted by id. A model with `scalar_channel` also gets their
    depths. `out` then holds `model/` (the checkpoint: `create_model("local-dir:OUT/model")`), `predictions.png`,
    `log.csv` and `last.pt`, from which `resume=True` continues; with a student also `pseudo_labels.bin`. The checkpoint
    holds the weights of the last epoch, not of the best one, whose score would be too high. With several processes of
    torch.distributed, call it in each, with the same arguments.

    Args:
        recipe: the recipe.
        tiles: tiles with masks, of all folds; labels 0 to K - 1 for a model of K classes.
        out: folder of the run, created if it is missing.
        unlabelled: tiles for the recipe's student, which needs them.
        fold: number of the fold that validates; None for the recipe's.
        seed: seed of first weights, order, augmentation and dropout; None for the recipe's. On one CPU the same seed
            gives the same numbers; GPU kernels may add in another order.
        device: "cpu", "cuda" or "cuda:N".
        data: name of the data, for the model card.
        license: licence of the weights, an identifier of the Hugging Face Hub.
        resume: continue the run in `out`: with the same recipe, data name and tiles, in any order. Weights and teachers
            that the run started from are not needed again. A recipe with more epochs adds a cosine cycle: the rate
            restarts at its peak after the epochs that the run was to have (`rate.restarts`).
        save_every: number of epochs between two saves, which is what a kill may lose. The last epoch is always saved.
        tell: called with a line of text after each epoch.

    Returns:
        Scores of the checkpoint as a user loads it, in float32: "salt_map", and "salt_map_hflip" with horizontal flips.
        For K classes "mean_iou", "mean_iou_hflip", and "iou_class_0" to that of class K - 1, over all validation
        pixels; a class in neither truth nor prediction has none.

    Raises:
        ValueError: if recipe and tiles do not fit together (no tile validates, too few train, depths are missing, a
            mask holds other values than the model's classes, a loss does not take them), weights that the recipe names
            may have seen validation tiles, or `out` holds another run. All of this is checked before the first epoch.
        OSError: if weights that the recipe names are missing or cannot be reached, or the disk is full; files that were
            there before are then unchanged.
        KeyboardInterrupt: if the run is interrupted; `out` then holds the last saved epoch.
    """
    check_flags(resume=resume)
    check_counts(save_every=save_every)
    recipe = replace(recipe, fold=recipe.fold if fold is None else fold, seed=recipe.seed if seed is None else seed)
    process, out = Process.current(device), Path(out)
    check_folder(out, resume=resume)
    tell = tell if process.main else _silent
    saved = SavedRun.read(out, process.device) if resume else None
    if saved is not None:
        recipe = saved.continued(recipe)
        if recipe.epochs > saved.epochs:
            tell(
                f"the run of {saved.epochs} epochs gets {recipe.epochs - saved.epochs} more: its rate restarts for them"
            )
    recipe = with_amp_of(recipe, process.device, tell=tell)
    tiles, unlabelled = with_labels(recipe, in_order(tiles)), None if unlabelled is None else in_order(unlabelled)
    folds = checked_folds(recipe, tiles)
    validation = tiles.select(folds == recipe.fold)
    artifacts = Artifacts(recipe, validation, out, data=data, license=license, machine=process.machine)
    run = open_run(artifacts, tiles, folds, unlabelled=unlabelled, saved=saved, process=process, tell=tell)
    with full_disk_explained(out, out / STATE):
        return _epochs(run, [] if saved is None else saved.history, save_every)


def _epochs(run: Run, history: History, save_every: int) -> dict[str, float]:
    """Train the epochs that are left, write the files, and return the final scores."""
    recipe, process = run.artifacts.recipe, run.process
    run.begin()
    if history and process.main:
        _write(run, history, save=True)  # a kill may have come between the state and the other files
    for epoch in range(len(history), recipe.epochs):
        loss, seconds = _train(run, epoch)
        score = _evaluate(run, run.trainer.kept, amp=recipe.amp == "bf16")
        ious = tuple(round(iou, 5) for iou in score.class_iou)
        history.append(EpochRecord(epoch + 1, round(loss, 5), round(score.value, 5), round(seconds, 1), ious))
        if process.main:
            _record(run, history, save=(epoch + 1) % save_every == 0 or epoch + 1 == recipe.epochs)
    return _finish(run, history)


def _evaluate(run: Run, model: Segmenter, *, tta: str | None = None, amp: bool = False) -> Score:
    """Score a model on the validation tiles."""
    recipe = run.artifacts.recipe
    classes, ignored = recipe.num_classes, recipe.ignore_index
    return evaluate(
        model, run.artifacts.validation, run.process, num_classes=classes, ignore_index=ignored, tta=tta, amp=amp
    )


def _train(run: Run, epoch: int) -> tuple[float, float]:
    """Train for an epoch; return the mean loss, and the seconds that the steps took."""
    start = time.perf_counter()
    with denormals_flushed():
        loss = run.trainer.epoch(epoch)
    seconds = time.perf_counter() - start
    if epoch + 1 in run.artifacts.recipe.stages:
        run.trainer.finish()
    return loss, seconds


def _record(run: Run, history: History, *, save: bool) -> None:
    """Write the files of an epoch, and report it."""
    epoch, loss, score, seconds, ious = history[-1]
    recipe = run.artifacts.recipe
    try:
        _write(run, history, save=save)
    except KeyboardInterrupt:
        _write(run, history, save=save)  # state and checkpoint are of one epoch
        raise
    speed = run.trainer.steps * recipe.batch_size / seconds if seconds else 0.0
    of_classes = f" (IoU {' '.join('-' if isnan(iou) else f'{iou:.3f}' for iou in ious)})" if ious else ""
    run.tell(f"epoch {epoch}: loss {loss:.4f}  score {score:.4f}{of_classes}  {seconds:.1f} s  {speed:.1f} tiles/s")


def _write(run: Run, history: History, *, save: bool) -> None:
    """Write the files of an epoch, the state first: whatever stops the run after it, the folder can be resumed."""
    if save:
        run.save_state(history)
        run.artifacts.save(run.trainer.kept, history)
    if run.artifacts.recipe.ends_cycle(len(history) - 1):
        run.artifacts.save_snapshot(run.trainer.kept, history)


def _finish(run: Run, history: History) -> dict[str, float]:
    """Score the checkpoint as a user loads it, and write the scores into its card."""
    artifacts, process = run.artifacts, run.process
    if process.world > 1:
        dist.barrier()  # the main process may still be writing
    model = create_model(f"local-dir:{artifacts.folder}").to(process.device)
    (name, value), *of_classes = _evaluate(run, model).named().items()
    scores = {name: value, f"{name}_hflip": _evaluate(run, model, tta="hflip").value, **dict(of_classes)}
    if process.main:
        artifacts.save(run.trainer.kept, history, scores)
        reached = [(score, minutes_to(history, score)) for score in MILESTONES]
        times = [f"{score:.2f}: {minutes:.1f}" for score, minutes in reached if minutes is not None]
        run.tell(
            f"minutes of steps to a score of {', '.join(times)}"
            if times
            else f"no epoch reached a score of {MILESTONES[0]:.2f}"
        )
    return scores


def _silent(line: str) -> None:
    """Report nothing, in all processes but the main one."""
