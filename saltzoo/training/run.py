"""A training run: from a recipe and tiles to a checkpoint with its scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from ..data import Tiles, stratified_folds
from ..factory import create_model
from ..inference import predict
from ..metrics import SaltMAP
from ..models import Segmenter
from .given_weights import check_given_weights
from .keeping import kept_model
from .outcome import Outcome
from .place import Place
from .recipe import Recipe
from .state import History, check_folder, load_state, save_state
from .student import check_unlabelled, pseudo_labelled
from .trainer import Trainer

Tell = Callable[[str], None]


def fit(
    recipe: Recipe,
    tiles: Tiles,
    out: str | Path,
    *,
    unlabelled: Tiles | None = None,
    fold: int = 0,
    seed: int = 0,
    device: str | torch.device = "cpu",
    data: str = "tiles",
    license: str = "other",
    resume: bool = False,
    tell: Tell = print,
) -> dict[str, float]:
    """Trains a model on all folds but one, and scores it on that.

    `out` then holds `model/` (the checkpoint: `create_model("local-dir:OUT/model")`, written after every epoch),
    `predictions.png`, `log.csv` and `last.pt`, from which `resume=True` goes on. What is kept is the average of the
    weights at the end, not that of the best epoch, whose score would flatter it.

    In each of several processes of torch.distributed call it alike.

    Args:
        recipe: what to do.
        tiles: with masks; split into folds, stratified by coverage.
        out: a folder, made if it is missing.
        unlabelled: tiles that a recipe's student learns from by its teachers' masks; such a recipe needs them.
        fold: which fold validates.
        seed: of first weights, order and augmentation. The same seed on the same machine gives the same numbers.
        device: "cpu", "cuda" or "cuda:N".
        data: what the tiles are, for the model card.
        license: of the weights, an identifier of the Hugging Face Hub.
        resume: go on with the run in `out`; at most one epoch is lost.
        tell: takes a line of text after each epoch, and of what a student learns from.

    Returns:
        Scores of the checkpoint as a user reads it, in float32: "salt_map", and "salt_map_hflip" with mirrored tiles.

    Raises:
        ValueError: the recipe and the tiles do not go together, weights that it names may have seen the tiles that
            validate, or `out` holds another run.
        OSError: weights that the recipe names are not there, or can't be reached.
        KeyboardInterrupt: when it is interrupted; the checkpoint of the last epoch is there.
    """
    out, place, amp = Path(out), Place.here(device), recipe.amp == "bf16"
    check_folder(out, resume=resume)
    folds = stratified_folds(tiles.coverage, n_folds=recipe.folds, seed=0)
    if not 0 <= fold < recipe.folds:
        raise ValueError(f"fold must be 0 to {recipe.folds - 1}, got {fold}")
    training, validation = tiles.select(folds != fold), tiles.select(folds == fold)
    outcome = Outcome(recipe, validation, out, data=data, license=license, fold=fold, seed=seed, machine=place.machine)
    check_unlabelled(recipe.student, tiles, unlabelled)
    given = check_given_weights(recipe, data=data, validates=outcome.validates)
    say = tell if place.main else _say_nothing
    for line in given.unchecked:
        say(line)
    identity = {"recipe": recipe.to_dict(), "data": data, "fold": fold, "seed": seed, "tiles": len(tiles)}
    pseudo = None
    if recipe.student is not None and unlabelled is not None:
        identity |= {"unlabelled": len(unlabelled), "teachers": list(given.teachers)}
        pseudo = pseudo_labelled(recipe.student, unlabelled, place, amp=amp)
        empty = float((pseudo.coverage == 0).mean())
        say(f"pseudo-labels: {len(pseudo)} of {len(unlabelled)} tiles are kept, {empty:.1%} of them empty")
    trainer = Trainer(recipe, training, place, seed=seed, pseudo=pseudo)
    kept_model(recipe.model, trainer.kept)  # says now, and not after an epoch, what can't be kept
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
            outcome.save(trainer.kept, history)
            if recipe.ends_cycle(epoch):
                outcome.save_snapshot(trainer.kept, history)
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


def evaluate(model: Segmenter, tiles: Tiles, place: Place, *, tta: str | None = None, amp: bool = False) -> float:
    """The competition's score at threshold .5, over all processes; each predicts its share of the tiles."""
    share = tiles.select(np.arange(place.rank, len(tiles), place.world))
    with torch.autocast(place.device.type, dtype=torch.bfloat16, enabled=amp):
        probabilities = predict(model, torch.from_numpy(share.images).to(place.device), tta=tta)
    masks = torch.from_numpy(share.require_masks()).to(place.device)
    return SaltMAP().update(probabilities > 0.5, masks).sync().compute()
