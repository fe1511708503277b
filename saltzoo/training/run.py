"""A training run: from a recipe and tiles to a checkpoint with its scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ..data import Tiles
from ..zoo.factory import create_model
from .evaluation import evaluate
from .given_weights import check_given_weights
from .keeping import check_training_options
from .outcome import Outcome
from .place import Place
from .recipe import Recipe
from .state import History, check_folder, load_state, minutes_to, save_state
from .student import check_unlabelled, pseudo_labelled
from .trainer import Trainer

Tell = Callable[[str], None]

MILESTONES = (0.70, 0.75, 0.80, 0.83, 0.85)
"""Scores of which a run tells when it reached them."""


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
    """Trains a model on all folds but one, and scores it on that.

    `out` then holds `model/` (the checkpoint: `create_model("local-dir:OUT/model")`), `predictions.png`, `log.csv` and
    `last.pt`, from which `resume=True` goes on. What is kept is the average of the weights at the end, not that of the
    best epoch, whose score would flatter it. The seconds of an epoch are those of its steps.

    In each of several processes of torch.distributed call it alike.

    Args:
        recipe: what to do.
        tiles: with masks; split into folds, stratified by coverage.
        out: a folder, made if it is missing.
        unlabelled: tiles that a recipe's student learns from by its teachers' masks; such a recipe needs them.
        fold: which fold validates; None for the recipe's.
        seed: of first weights, order, augmentation and dropout; None for the recipe's. On one CPU the same seed gives
            the same numbers; kernels of a GPU may add in another order.
        device: "cpu", "cuda" or "cuda:N".
        data: what the tiles are, for the model card.
        license: of the weights, an identifier of the Hugging Face Hub.
        resume: go on with the run in `out`.
        save_every: epochs from one writing of `out` to the next, which is what a kill may lose. It takes longer than
            the steps where these take a second. The last epoch is always written.
        tell: takes a line of text after each epoch, and of what a student learns from.

    Returns:
        Scores of the checkpoint as a user reads it, in float32: "salt_map", and "salt_map_hflip" with mirrored tiles.

    Raises:
        ValueError: the recipe and the tiles do not go together, weights that it names may have seen the tiles that
            validate, or `out` holds another run.
        OSError: weights that the recipe names are not there, or can't be reached.
        KeyboardInterrupt: when it is interrupted; the checkpoint of the last epoch that was written is there.
    """
    out, place, amp = Path(out), Place.here(device), recipe.amp == "bf16"
    check_folder(out, resume=resume)
    if save_every < 1:
        raise ValueError(f"save_every must be at least 1 epoch, got {save_every}")
    recipe = replace(recipe, fold=recipe.fold if fold is None else fold, seed=recipe.seed if seed is None else seed)
    held_out = recipe.split_tiles(tiles) == recipe.fold
    training, validation = tiles.select(~held_out), tiles.select(held_out)
    outcome = Outcome(recipe, validation, out, data=data, license=license, machine=place.machine)
    check_unlabelled(recipe.student, tiles, unlabelled)
    given = check_given_weights(recipe, outcome.validates)
    say = tell if place.main else _say_nothing
    for line in given.unchecked:
        say(line)
    identity: dict[str, Any] = {"recipe": recipe.to_dict(), "data": data, "tiles": tiles.fingerprint}
    pseudo = None
    if recipe.student is not None and unlabelled is not None:
        identity |= {"unlabelled": len(unlabelled), "teachers": list(given.teachers)}
        pseudo = pseudo_labelled(recipe.student, unlabelled, place, amp=amp)
        empty = float((pseudo.coverage == 0).mean())
        say(f"pseudo-labels: {len(pseudo)} of {len(unlabelled)} tiles are kept, {empty:.1%} of them empty")
    trainer = Trainer(recipe, training, place, seed=recipe.seed, pseudo=pseudo)
    check_training_options(recipe.model, trainer.model)  # now, and not after an epoch
    history: History = load_state(out, trainer.parts, identity, place.device) if resume else []
    out.mkdir(parents=True, exist_ok=True)

    for epoch in range(len(history), recipe.epochs):
        start = time.perf_counter()
        with _without_denormals():
            loss = trainer.epoch(epoch)
        seconds = time.perf_counter() - start
        if epoch + 1 == recipe.epochs:
            trainer.finish()
        score = evaluate(trainer.kept, validation, place, amp=amp)
        history.append((epoch + 1, round(loss, 5), round(score, 5), round(seconds, 1)))
        if place.main:
            # The state comes last: a kill before it repeats the epoch, and writes the rest again.
            if recipe.ends_cycle(epoch):
                outcome.save_snapshot(trainer.kept, history)
            if (epoch + 1) % save_every == 0 or epoch + 1 == recipe.epochs:
                outcome.save(trainer.kept, history)
                save_state(out, trainer.parts, identity, history)
            speed = trainer.steps * recipe.batch_size / seconds
            say(f"epoch {epoch + 1}: loss {loss:.4f}  score {score:.4f}  {seconds:.1f} s  {speed:.1f} tiles/s")

    if place.world > 1:
        dist.barrier()  # the writer may not be done
    model = create_model(f"local-dir:{outcome.folder}").to(place.device)
    scores = {
        name: evaluate(model, validation, place, tta=tta)
        for name, tta in (("salt_map", None), ("salt_map_hflip", "hflip"))
    }
    if place.main:
        outcome.save(trainer.kept, history, scores)
        reached = [(score, minutes_to(history, score)) for score in MILESTONES]
        told = [f"{score:.2f}: {minutes:.1f}" for score, minutes in reached if minutes is not None]
        say(f"minutes of steps to a score of {', '.join(told)}" if told else f"no epoch scored {MILESTONES[0]:.2f}")
    return scores


def _say_nothing(line: str) -> None:
    """As all processes but the main one do."""


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Vanishing numbers are 0: they make a CPU many times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
