"""What a run leaves behind: a checkpoint with its scores, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import draw
from ..checkpoints.save import save_pretrained
from ..data import Tiles
from ..inference import predict
from ..models import Segmenter
from .keeping import kept_model
from .recipe import Recipe
from .state import MODEL, History

PICTURE = "predictions.png"
SHOWN = 12
"""Tiles of the picture."""


@dataclass(frozen=True)
class Outcome:
    """Writes checkpoints of a run.

    Attributes:
        recipe: how they came about.
        validation: tiles, with masks, that the scores are of.
        out: the run's folder.
        data: what the tiles are.
        license: of the weights.
        machine: where it was trained.
    """

    recipe: Recipe
    validation: Tiles
    out: Path
    data: str
    license: str
    machine: str

    @property
    def folder(self) -> Path:
        """Of the checkpoint."""
        return self.out / MODEL

    @property
    def validates(self) -> dict[str, str]:
        """Which tiles are held out, as cards say it."""
        return {
            "data": self.data,
            "fold": f"{self.recipe.fold} of {self.recipe.folds}",
            "held_out": self.validation.fingerprint,
        }

    def save(self, model: Segmenter, history: History, scores: Mapping[str, float] | None = None) -> None:
        """The checkpoint and its picture; with the scores of an epoch, or those that are given."""
        scores = scores or {"salt_map": history[-1][2]}
        self._write(model, self.folder, history, scores)
        self._draw(model)

    def save_snapshot(self, model: Segmenter, history: History) -> None:
        """A checkpoint of its own at the end of a cycle."""
        epoch, _, score, _ = history[-1]
        self._write(model, self.out / f"snapshot_{epoch}", history, {"salt_map": score})

    def _write(self, model: Segmenter, folder: Path, history: History, scores: Mapping[str, float]) -> None:
        save_pretrained(
            kept_model(self.recipe.model, model),
            folder,
            license=self.license,
            metrics=[self._metric(name, value, history) for name, value in scores.items()],
            recipe=self.recipe.to_dict(),
            dtype=self.recipe.dtype,
        )

    def _metric(self, name: str, value: float, history: History) -> dict[str, Any]:
        """A score with the conditions under which it holds."""
        return {
            "name": name,
            "value": value,
            **self.validates,
            "seed": self.recipe.seed,
            "epoch": f"{len(history)} of {self.recipe.epochs}",
            "minutes": round(sum(seconds for *_, seconds in history) / 60, 1),
            "machine": self.machine,
        }

    def _draw(self, model: Segmenter) -> None:
        """Tiles with salt, spread over the fold: prediction beside truth."""
        with_salt = np.flatnonzero(self.validation.coverage > 0)
        count = min(SHOWN, len(with_salt))
        shown = self.validation.select(with_salt[np.linspace(0, len(with_salt) - 1, count).astype(int)])
        guesses = predict(model, shown.images) > 0.5
        pictures = []
        for image, guess, truth in zip(shown.images, guesses, shown.require_masks(), strict=True):
            pictures += [draw.overlay(image, guess), draw.overlay(image, truth)]
        if pictures:
            draw.save_png(draw.contact_sheet(pictures, columns=6), self.out / PICTURE)
