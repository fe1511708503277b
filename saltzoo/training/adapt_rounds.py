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
from .survey_lines import TILE, SurveyLines
from .trainer import Trainer


@dataclass
class Best:
    """The best weights so far.

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
    round: int = 0
    rounds: int = 0
    seconds: float = 0.0
    interrupted: bool = False

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
        pictures = Crops([self.view.view(line) for line in self.others], TILE)
        before = self.view.iou(start, self.held)
        self.tell(f"before: IoU {before:.3f} on {self.held.name}, which is held out")
        best = Best(start, before, before)
        weights: dict[str, Tensor] | None = None
        begin = time.perf_counter()
        rng = np.random.default_rng(self.recipe.seed)
        trainer = Trainer(self.recipe, pictures.draw(self.crops, rng), device=device)
        try:
            while best.rounds < self.recipe.epochs and best.rounds - best.round < self.patience:
                loss = self._round(trainer, pictures, rng, best.rounds)
                best.rounds += 1
                iou = self.view.iou(trainer.kept, self.held)
                best.seconds = time.perf_counter() - begin
                if iou > best.iou:
                    weights = {name: tensor.clone() for name, tensor in trainer.kept.state_dict().items()}
                    best.iou, best.round = iou, best.rounds
                self.tell(f"round {best.rounds}: loss {loss:.4f}  IoU {iou:.3f}  {best.seconds:.0f} s")
        except KeyboardInterrupt:
            best.interrupted = True
        if weights is not None:
            trainer.kept.load_state_dict(weights)
            kept = trainer.kept.mask_only() if start.config is not None and start.config.mask_only else trainer.kept
            kept.threshold, kept.min_size = start.threshold, start.min_size
            best.model = kept
        return best

    def _round(self, trainer: Trainer, pictures: Crops, rng: np.random.Generator, number: int) -> float:
        """Train on new crops, and return the mean loss."""
        if number:
            trainer.renew(pictures.draw(self.crops, rng))
        with denormals_flushed():
            return trainer.epoch(number)
