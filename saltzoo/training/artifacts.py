"""Files that a run writes for its user: checkpoints with their scores, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import draw
from ..data import Tiles
from ..models import Segmenter
from ..zoo.save import save_pretrained
from .evaluation import Score
from .history import History
from .recipe import Recipe
from .resume import MODEL, PICTURE
from .scalars import predict_tiles
from .training_only import without_training_options

SHOWN = 12
"""Number of tiles in the picture."""


@dataclass(frozen=True)
class Artifacts:
    """Writes the checkpoints and the picture of a run.

    Attributes:
        recipe: recipe of the run.
        validation: tiles, with masks, that the scores belong to.
        out: folder of the run.
        data: name of the data, for the model card.
        license: licence of the weights.
        machine: machine that trains, for the model card.
    """

    recipe: Recipe
    validation: Tiles
    out: Path
    data: str
    license: str
    machine: str

    @property
    def folder(self) -> Path:
        """Folder of the checkpoint."""
        return self.out / MODEL

    @property
    def held_out(self) -> dict[str, str]:
        """The validation tiles, as model cards describe them."""
        return {
            "data": self.data,
            "fold": f"{self.recipe.fold} of {self.recipe.folds}",
            "held_out": self.validation.fingerprint,
        }

    def save(self, model: Segmenter, history: History, scores: Mapping[str, float] | None = None) -> None:
        """Write the checkpoint and the picture, with given scores or that of the last epoch."""
        self._write(model, self.folder, history, scores or _scores_of(history))
        self._draw(model)

    def save_snapshot(self, model: Segmenter, history: History) -> None:
        """Write a separate checkpoint at the end of a cycle."""
        self._write(model, self.out / f"snapshot_{history[-1].number}", history, _scores_of(history))

    def _write(self, model: Segmenter, folder: Path, history: History, scores: Mapping[str, float]) -> None:
        _, height, width = self.validation.images.shape
        save_pretrained(
            without_training_options(self.recipe.model, model),
            folder,
            license=self.license,
            metrics=[self._metric(name, value, history) for name, value in scores.items()],
            recipe=self.recipe.to_dict(),
            dtype=self.recipe.dtype,
            tile_size=(height, width),
        )

    def _metric(self, name: str, value: float, history: History) -> dict[str, Any]:
        """Return a score with the conditions under which it holds."""
        return {
            "name": name,
            "value": value,
            **self.held_out,
            "seed": self.recipe.seed,
            "epoch": f"{len(history)} of {self.recipe.epochs}",
            "minutes": round(sum(epoch.seconds for epoch in history) / 60, 1),
            "machine": self.machine,
        }

    def _draw(self, model: Segmenter) -> None:
        """Draw prediction and truth side by side, for tiles with salt (or any) spread evenly over the fold."""
        with_salt = np.flatnonzero(self.validation.coverage > 0)
        choice = with_salt if len(with_salt) else np.arange(len(self.validation))
        count = min(SHOWN, len(choice))
        shown = self.validation.select(choice[np.linspace(0, len(choice) - 1, count).astype(int)])
        device = next(model.parameters()).device
        probabilities = predict_tiles(model, shown, device)  # N H W or N K H W
        several = probabilities.ndim == 4
        guesses = (probabilities.argmax(1).byte() if several else probabilities > 0.5).cpu().numpy()
        pictures = []
        for image, guess, truth in zip(shown.images, guesses, shown.require_masks(), strict=True):
            pictures += [self._overlay(image, guess), self._overlay(image, truth)]
        draw.save_png(draw.contact_sheet(pictures, columns=6), self.out / PICTURE, overwrite=True)

    def _overlay(self, image: draw.Picture, mask: npt.NDArray[Any]) -> draw.Picture:
        if mask.dtype == np.bool_:
            return draw.overlay(image, mask)
        return draw.overlay_labels(image, mask, ignore_index=self.recipe.ignore_index)


def _scores_of(history: History) -> dict[str, float]:
    return Score(history[-1].score, history[-1].class_iou).named()
