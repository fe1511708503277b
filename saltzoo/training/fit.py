"""A training run: from a recipe and tiles to a checkpoint with its scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from .._checks import check_flags
from ..data import Tiles
from ..zoo.factory import create_model
from .artifacts import Artifacts
from .evaluation import evaluate
from .leakage import check_leakage
from .process import Process
from .recipe import Recipe
from .resume import History, check_folder, load_state, minutes_to, save_state
from .student import check_unlabelled, pseudo_label
from .trainer import Trainer
from .training_only import check_training_options

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

    `out` then holds `model/` (the checkpoint: `create_model("local-dir:OUT/model")`), `predictions.png`, `log.csv` and
    `last.pt`, from which `resume=True` continues. The checkpoint holds the weights of the last epoch, not of the best
    one, whose score would be too high. With several processes of torch.distributed, call it in each, with the same
    arguments.

    Args:
        recipe: the recipe.
        tiles: tiles with masks, of all folds.
        out: folder of the run, created if it is missing.
        unlabelled: tiles for the recipe's student, which needs them.
        fold: number of the fold that validates; None for the recipe's.
        seed: seed of first weights, order, augmentation and dropout; None for the recipe's. On one CPU the same seed
            gives the same numbers; GPU kernels may add in another order.
        device: "cpu", "cuda" or "cuda:N".
        data: name of the data, for the model card.
        license: licence of the weights, an identifier of the Hugging Face Hub.
        resume: continue the run in `out`.
        save_every: number of epochs between two saves, which is what a kill may lose. The last epoch is always saved.
        tell: called with a line of text after each epoch.

    Returns:
        Scores of the checkpoint as a user loads it, in float32: "salt_map", and "salt_map_hflip" with horizontal flips.

    Raises:
        ValueError: if recipe and tiles do not fit together, weights that the recipe names may have seen validation
            tiles, or `out` holds another run.
        OSError: if weights that the recipe names are missing or cannot be reached.
        KeyboardInterrupt: if the run is interrupted; `out` then holds the last saved epoch.
    """
    check_flags(resume=resume)
    if save_every < 1:
        raise ValueError(f"save_every must be at least 1 epoch, got {save_every}")
    recipe = replace(recipe, fold=recipe.fold if fold is None else fold, seed=recipe.seed if seed is None else seed)
    process = Process.current(device)
    check_folder(Path(out), resume=resume)
    held_out = recipe.split_tiles(tiles) == recipe.fold
    artifacts = Artifacts(
        recipe, tiles.select(held_out), Path(out), data=data, license=license, machine=process.machine
    )
    run = _open(artifacts, tiles, ~held_out, unlabelled, process, tell if process.main else _silent)
    history: History = load_state(run.out, run.trainer.parts, run.identity, process.device) if resume else []
    run.out.mkdir(parents=True, exist_ok=True)
    for epoch in range(len(history), recipe.epochs):
        loss, seconds = _train(run, epoch)
        score = evaluate(run.trainer.kept, artifacts.validation, process, amp=recipe.amp == "bf16")
        history.append((epoch + 1, round(loss, 5), round(score, 5), round(seconds, 1)))
        if process.main:
            _record(run, history, save=(epoch + 1) % save_every == 0 or epoch + 1 == recipe.epochs)
    return _finish(run, history)


@dataclass(frozen=True)
class _Run:
    """What stays the same over the epochs of a run."""

    recipe: Recipe
    process: Process
    artifacts: Artifacts
    trainer: Trainer
    identity: dict[str, Any]
    say: Tell

    @property
    def out(self) -> Path:
        return self.artifacts.out


def _open(
    artifacts: Artifacts, tiles: Tiles, training: Any, unlabelled: Tiles | None, process: Process, say: Tell
) -> _Run:
    """Check what the recipe names, label the unlabelled tiles and build the trainer."""
    recipe = artifacts.recipe
    check_unlabelled(recipe.student, tiles, unlabelled)
    weights = check_leakage(recipe, artifacts.held_out)
    for line in weights.warnings:
        say(line)
    identity: dict[str, Any] = {"recipe": recipe.to_dict(), "data": artifacts.data, "tiles": tiles.fingerprint}
    pseudo = None
    if recipe.student is not None and unlabelled is not None:
        identity |= {"unlabelled": len(unlabelled), "teachers": list(weights.teachers)}
        pseudo = pseudo_label(recipe.student, unlabelled, process, amp=recipe.amp == "bf16")
        empty = float((pseudo.coverage == 0).mean())
        say(f"pseudo-labels: {len(pseudo)} of {len(unlabelled)} tiles are kept, {empty:.1%} of them empty")
    trainer = Trainer(recipe, tiles.select(training), device=process.device, pseudo=pseudo)
    check_training_options(recipe.model, trainer.model)
    return _Run(recipe, process, artifacts, trainer, identity, say)


def _train(run: _Run, epoch: int) -> tuple[float, float]:
    """Train for an epoch; return the mean loss, and the seconds that the steps took."""
    start = time.perf_counter()
    with _denormals_flushed():
        loss = run.trainer.epoch(epoch)
    seconds = time.perf_counter() - start
    if epoch + 1 == run.recipe.epochs:
        run.trainer.finish()
    return loss, seconds


def _record(run: _Run, history: History, *, save: bool) -> None:
    """Write the files of an epoch, and report it."""
    epoch, loss, score, seconds = history[-1]
    kept = run.trainer.kept
    # The state is written last: after a kill before it, the epoch is repeated and the other files are replaced.
    if run.recipe.ends_cycle(epoch - 1):
        run.artifacts.save_snapshot(kept, history)
    if save:
        run.artifacts.save(kept, history)
        save_state(run.out, run.trainer.parts, run.identity, history)
    speed = run.trainer.steps * run.recipe.batch_size / seconds if seconds else 0.0
    run.say(f"epoch {epoch}: loss {loss:.4f}  score {score:.4f}  {seconds:.1f} s  {speed:.1f} tiles/s")


def _finish(run: _Run, history: History) -> dict[str, float]:
    """Score the checkpoint as a user loads it, and write the scores into its card."""
    artifacts, process = run.artifacts, run.process
    if process.world > 1:
        dist.barrier()  # the main process may still be writing
    model = create_model(f"local-dir:{artifacts.folder}").to(process.device)
    scores = {
        "salt_map": evaluate(model, artifacts.validation, process),
        "salt_map_hflip": evaluate(model, artifacts.validation, process, tta="hflip"),
    }
    if process.main:
        artifacts.save(run.trainer.kept, history, scores)
        reached = [(score, minutes_to(history, score)) for score in MILESTONES]
        times = [f"{score:.2f}: {minutes:.1f}" for score, minutes in reached if minutes is not None]
        run.say(f"minutes of steps to a score of {', '.join(times)}" if times else f"no score of {MILESTONES[0]:.2f}")
    return scores


def _silent(line: str) -> None:
    """Report nothing, in all processes but the main one."""


@contextmanager
def _denormals_flushed() -> Iterator[None]:
    """Treat denormal numbers as 0: on a CPU they make arithmetic many times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
