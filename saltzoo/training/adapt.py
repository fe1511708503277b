"""adapt: a model trained further on a few labelled lines of one's own survey."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from .._checks import check_counts, check_flags
from ..checkpoints.folder import CONFIG, Checkpoint
from ..seismic import LabelledLine, Survey, open_survey, read_labelled_lines
from ..seismic.labelled_lines import check_line, choose_line
from ..zoo.factory import create_model
from ..zoo.restore import saved_tile_size
from ..zoo.save import save_pretrained
from ..zoo.sources import load_weights
from .adapt_rounds import Best, Rounds
from .process import Process
from .recipe import Recipe
from .recipe_parts import LossPart, ModelPart, OptimizerPart
from .survey_lines import UNKNOWN, SurveyLines

DEFAULT_MODEL = "saltnet_s.wide2"
"""Weights that were trained on tiles changed as surveys differ."""

LOSSES = (LossPart("bce_loss", 0.2), LossPart("lovasz_hinge", 1.0, {"margin": "elu", "symmetric": True}))


def adapt(
    survey: Survey | str | os.PathLike[str],
    lines: Sequence[LabelledLine] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str = DEFAULT_MODEL,
    held: str | None = None,
    rounds: int = 20,
    patience: int = 5,
    crops: int = 256,
    batch_size: int = 16,
    lr: float = 1e-3,
    polarity: int = 1,
    scale: tuple[float, float] = (1.0, 1.0),
    seed: int = 0,
    device: str | torch.device = "cpu",
    overwrite: bool = False,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train a model further on labelled lines of a survey, and write the checkpoint that is best on a held line.

    Each round trains on random crops of the lines, which have the size of the tiles that the model knows and are scaled
    by the median and the robust deviation of the survey, as `saltzoo predict` scales them. Then it segments the held
    line as a whole. The weights with the highest IoU on the held line are kept; if no round is better than the start,
    the weights of the start. The held line chooses, so its IoU is a little high: label one more line to measure. The
    checkpoint's config holds polarity and scale, with which `saltzoo predict` segments surveys.

    Args:
        survey: survey, or the path of one.
        lines: labelled lines, or the folder from which `saltzoo.seismic.read_labelled_lines` reads them.
        out: folder of the checkpoint.
        model: weights to start from, of one class: a name with its tag, or a checkpoint.
        held: name of the line that is held out, such as "inline 240"; None for the last.
        rounds: largest number of rounds.
        patience: number of rounds without a higher IoU after which training stops.
        crops: number of crops in a round.
        batch_size: crops in a step.
        lr: peak of the learning rate.
        polarity: 1, or -1 for a survey whose positive amplitudes are negative in the tiles that the model knows.
        scale: factors (vertical, horizontal) by which lines are resized for the model, as for `predict_tiled`.
        seed: seed of crops, augmentation and dropout.
        device: "cpu", "cuda" or "cuda:N".
        overwrite: whether a checkpoint in `out` is replaced.
        tell: called with a line of text after each round.

    Returns:
        "out", "held", "lines" (those trained on), "iou_before", "iou", "round" (0 if the weights are those of the
        start) and "rounds".

    Raises:
        FileExistsError: if `out` is there and is not to be replaced, or holds something else than a checkpoint.
        OSError: if a file cannot be read or written, or weights cannot be reached.
        ValueError: if there are fewer than two lines, no salt on the held line or on the others, or a line, a mask,
            the model or an option is wrong.
        KeyboardInterrupt: if training is interrupted. The best weights so far are written first; nothing is if no
            round was better than the start.
    """
    check_flags(overwrite=overwrite)
    check_counts(rounds=rounds, patience=patience, crops=crops, batch_size=batch_size)
    out = Path(out).expanduser()
    check_out(out, overwrite=overwrite)
    survey = survey if isinstance(survey, Survey) else open_survey(survey)
    labelled = read_labelled_lines(survey, lines) if isinstance(lines, str | os.PathLike) else lines
    for line in labelled:
        check_line(survey, line, f"the mask of {line.name}")
    held_line, others = split_lines(labelled, held)
    checkpoint = load_weights(model)
    recipe = _recipe(checkpoint, model, rounds=rounds, batch_size=min(batch_size, crops), lr=lr, seed=seed)
    view = SurveyLines.of(survey, polarity=polarity, scale=scale, tile=saved_tile_size(checkpoint.config))
    best = Rounds(recipe, view, held_line, others, crops=crops, patience=patience, tell=tell).run(
        create_model(model, pretrained=True).to(device), device
    )
    if best.interrupted and not best.round:
        raise KeyboardInterrupt("no round was better than the start, and nothing was written")
    conditions = {
        "data": survey.path.name,
        "held_line": held_line.name,
        "trained_on": ", ".join(line.name for line in others),
        "round": f"{best.round} of {best.rounds}",
        "seed": seed,
        "minutes": round(best.seconds / 60, 1),
        "machine": Process.current(device).machine,
    }
    try:
        _save(best, out, checkpoint, recipe, view, conditions)
    except KeyboardInterrupt:
        _save(best, out, checkpoint, recipe, view, conditions)  # its files are of one round
        raise
    if best.interrupted:
        raise KeyboardInterrupt(f"{out} holds round {best.round}, IoU {best.iou:.3f} on {held_line.name}")
    names = [line.name for line in others]
    return {"out": str(out), "held": held_line.name, "lines": names, **best.scores}


def check_out(out: Path, *, overwrite: bool) -> None:
    """Raise an error if a checkpoint cannot be written to a folder.

    Raises:
        FileExistsError: if it is there and is not to be replaced, or holds something else than a checkpoint.
        NotADirectoryError: if it would be within a file.
    """
    parent = next(one for one in out.absolute().parents if one.exists())
    if not parent.is_dir():
        raise NotADirectoryError(f"out must be a folder, got {str(out)!r} within the file {parent}: choose another")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / CONFIG).is_file():
        raise FileExistsError(f"out must be a new folder, got {str(out)!r}, which is no checkpoint: choose another")
    if not overwrite:
        raise FileExistsError(f"out must be a new folder, got the checkpoint {out}: choose another, or overwrite it")


def split_lines(lines: Sequence[LabelledLine], held: str | None) -> tuple[LabelledLine, list[LabelledLine]]:
    """Return the line that is held out, and the others.

    Raises:
        ValueError: if there are fewer than two lines, or there is no salt on the held line or on the others.
    """
    if len(lines) < 2:
        what = lines[0].name + " alone" if lines else "none"
        raise ValueError(f"lines must be two or more, as one is held out to choose by, got {what}: label another line")
    chosen = choose_line(lines, held)
    others = [line for line in lines if line is not chosen]
    if not any(line.mask.any() for line in lines):
        raise ValueError(f"masks must mark salt, got {len(lines)} lines without any: label lines that cross the salt")
    if not chosen.mask.any():
        raise ValueError(f"held must be a line with salt, got {chosen.name} without any: name another of the lines")
    if not any(line.mask.any() for line in others):
        raise ValueError(f"lines must hold salt besides that of the held {chosen.name}, got none: label another line")
    return chosen, others


def _recipe(checkpoint: Checkpoint, model: str, *, rounds: int, batch_size: int, lr: float, seed: int) -> Recipe:
    """Return the recipe of the rounds, for the trainer.

    Raises:
        ValueError: if the model has several classes or reads a number for each image, or an option is wrong.
    """
    recipe = Recipe(
        ModelPart(checkpoint.architecture, options=checkpoint.model_args, grow_from=model),
        epochs=rounds,
        batch_size=batch_size,
        seed=seed,
        optimizer=OptimizerPart(lr=lr),
        losses=LOSSES,
        ignore_index=UNKNOWN,
    )
    if recipe.num_classes > 1:
        raise ValueError(f"model must have one class, salt, got {model!r} of {recipe.num_classes}: choose another")
    if checkpoint.preprocess.scalar:
        raise ValueError(f"model must read pictures alone, got {model!r}, which reads a number too: choose another")
    return recipe


def _save(
    best: Best, out: Path, checkpoint: Checkpoint, recipe: Recipe, view: SurveyLines, conditions: dict[str, Any]
) -> None:
    """Write the checkpoint, with the licence of the weights from which it started."""
    scores = {"iou": best.iou, "iou_before": best.before}
    save_pretrained(
        best.model,
        out,
        license=checkpoint.config["license"],
        tile_size=view.tile,
        metrics=[{"name": name, "value": value, **conditions} for name, value in scores.items()],
        recipe=recipe.to_dict(),
        survey=view.described,
    )
