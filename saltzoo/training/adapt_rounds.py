"""Rounds of training on crops of labelled lines, until the score of a held line rises no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models import Segmenter
from ..seismic import LabelledLine
from .crops import Crops
from .precision import denormals_flushed
from .recipe import Recipe
from .survey_lines import SurveyLines
from .trainer import Trainer


@dataclass(frozen=True)
class Best:
    """The best weights.

    Attributes:
        model: model that holds them.
        before: IoU of the start on the held line.
        iou: their IoU on the held line.
        round: number of their round, from 1; 0 for the start.
        rounds: number of rounds that were trained.
        seconds: time of all rounds.
        interrupted: whether the user stopped the rounds.
    """

    model: Segmenter
    before: float
    iou: float
    round: int
    rounds: int
    seconds: float
    interrupted: bool

    @property
    def scores(self) -> dict[str, Any]:
        """What a caller gets to know."""
        return {"iou_before": self.before, "iou": self.iou, "round": self.round, "rounds": self.rounds}


@dataclass(frozen=True)
class Rounds:
    """Training on crops of labelled lines.

    Attributes:
        recipe: recipe of the trainer; its epochs are the rounds.
        view: how lines are shown to the network.
        held: line that chooses the best round.
        others: lines that are trained on.
        crops: number of crops in a round.
        patience: number of rounds without a better score after which training stops.
        tell: called with lines of text.
    """

    recipe: Recipe
    view: SurveyLines
    held: LabelledLine
    others: Sequence[LabelledLine]
    crops: int
    patience: int
    tell: Callable[[str], None]

    def run(self, start: Segmenter, device: str | torch.device) -> Best:
        """Train until the score rises no more, the rounds are over, or the user interrupts.

        Args:
            start: model with the weights that the recipe starts from, on the device.
            device: device that trains.
        """
        before = self.view.iou(start, self.held)
        self.tell(f"before: IoU {before:.3f} on {self.held.name}, which is held out")
        pictures = Crops([self.view.view(line) for line in self.others], self.view.tile)
        rng = np.random.default_rng(self.recipe.seed)
        trainer = Trainer(self.recipe, pictures.draw(self.crops, rng), device=device)
        # One tuple, so that an interruption finds weights and their score of one round.
        top: tuple[float, int, dict[str, Tensor]] = (before, 0, {})
        done, seconds, begin, interrupted = 0, 0.0, time.perf_counter(), False
        try:
            while done < self.recipe.epochs and done - top[1] < self.patience:
                loss = self._round(trainer, pictures, rng, done)
                iou = self.view.iou(_as_start(trainer.kept, start), self.held)
                done, seconds = done + 1, time.perf_counter() - begin
                if iou > top[0]:
                    top = (iou, done, {name: tensor.clone() for name, tensor in trainer.kept.state_dict().items()})
                self.tell(f"round {done}: loss {loss:.4f}  IoU {iou:.3f}  {seconds:.0f} s")
        except KeyboardInterrupt:
            interrupted = True
        if top[1]:
            trainer.kept.load_state_dict(top[2])
        model = _as_start(trainer.kept, start) if top[1] else start
        return Best(model, before, top[0], top[1], done, seconds, interrupted)

    def _round(self, trainer: Trainer, pictures: Crops, rng: np.random.Generator, number: int) -> float:
        """Train on new crops, and return the mean loss."""
        if number:
            trainer.renew(pictures.draw(self.crops, rng))
        with denormals_flushed():
            return trainer.epoch(number)


def _as_start(model: Segmenter, start: Segmenter) -> Segmenter:
    """Return a trained model with the heads and the mask options of the start, as users of its checkpoint get it."""
    kept = model.mask_only() if start.config is not None and start.config.mask_only else model
    kept.threshold, kept.min_size = start.threshold, start.min_size
    return kept
