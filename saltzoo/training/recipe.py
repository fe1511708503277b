"""A recipe: all that a training run is told, in one small TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .._config import check_finite_table, read_options, to_table
from ..data import Augment, Tiles, folds_by_id, stratified_folds
from .recipe_parts import (
    BCE_INTO_LOVASZ,
    AveragePart,
    LossPart,
    ModelPart,
    OptimizerPart,
    RatePart,
    StudentPart,
    SupervisionPart,
)
from .techniques.schedule import check_share, cycle_ends


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes:
        model: what is trained.
        epochs: passes over the training tiles.
        batch_size: tiles a step, over all processes.
        amp: "off", or "bf16" for autocast to bfloat16.
        compile: "off", or a mode of torch.compile for the network: it takes a minute or more at first, and each step
            is faster; "reduce-overhead" makes CUDA graphs of it on a GPU.
        split: what decides in which fold a tile is: "id" (`saltzoo.data.folds_by_id`), or "coverage"
            (`saltzoo.data.stratified_folds` with seed 0, which depends on all tiles together; version 0.1.0 used it).
        folds: number of folds that the tiles are split into.
        fold: which of them validates, from 0.
        seed: of first weights, order and augmentation, 0 or more.
        optimizer: how weights move.
        rate: how the rate moves.
        losses: what is summed into the mask's loss.
        supervision: weights of a model's other outputs.
        augment: options of `saltzoo.data.Augment`.
        average: which average of the weights is kept.
        dtype: of the kept weights: "float16" halves the file (see `save_pretrained`), and is what is scored at the end.
        frozen_until: share of all steps by which the encoder is unfrozen, stage by stage; 0 trains all of it at once.
        frozen_batch_norm: keep the encoder's batch norms as they start.
        student: learn from pseudo-labelled tiles too; None for labelled ones alone.
    """

    model: ModelPart
    epochs: int = 40
    batch_size: int = 32
    amp: Literal["off", "bf16"] = "off"
    compile: Literal["off", "default", "reduce-overhead", "max-autotune"] = "off"
    split: Literal["id", "coverage"] = "id"
    folds: int = 5
    fold: int = 0
    seed: int = 0
    optimizer: OptimizerPart = field(default_factory=OptimizerPart)
    rate: RatePart = field(default_factory=RatePart)
    losses: tuple[LossPart, ...] = BCE_INTO_LOVASZ
    supervision: SupervisionPart = field(default_factory=SupervisionPart)
    augment: Augment = field(default_factory=Augment)
    average: AveragePart = field(default_factory=AveragePart)
    dtype: Literal["float32", "float16"] = "float32"
    frozen_until: float = 0.0
    frozen_batch_norm: bool = False
    student: StudentPart | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.folds < 2:
            raise ValueError(f"folds must be at least 2, got {self.folds}")
        if not 0 <= self.fold < self.folds:
            raise ValueError(f"fold must be 0 to {self.folds - 1}, got {self.fold}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        if not self.losses:
            raise ValueError("a recipe needs a loss: give [[losses]] with a name and a weight")
        for part in self.losses:
            part.curve  # noqa: B018  # says what is wrong with it
        check_share("frozen_until", self.frozen_until)
        self.cycle_ends  # noqa: B018  # says whether there are enough epochs
        check_finite_table(self.to_dict())

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Recipe:
        """A recipe of nested tables, as a TOML or JSON file holds them.

        Raises:
            ValueError: a key that no recipe has, one that is missing, or a value that makes no sense.
            TypeError: a value of another type.
        """
        return read_options(cls, table, "the recipe")

    def split_tiles(self, tiles: Tiles) -> npt.NDArray[np.int64]:
        """Return the fold in which each tile is validated."""
        if self.split == "id":
            return folds_by_id(tiles.ids, n_folds=self.folds)
        return stratified_folds(tiles.coverage, n_folds=self.folds, seed=0)

    @property
    def cycle_ends(self) -> tuple[int, ...]:
        """After how many epochs each cycle of the rate ends."""
        return cycle_ends(self.epochs, warmup=self.rate.warmup, cycles=self.rate.cycles)

    def ends_cycle(self, epoch: int) -> bool:
        """Whether one of several cycles of the rate ends with that epoch, counted from 0."""
        return self.rate.cycles > 1 and epoch + 1 in self.cycle_ends

    def to_dict(self) -> dict[str, Any]:
        """The same as nested tables of plain values, all of them told."""
        return to_table(self)


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a TOML file.

    Raises:
        OSError: there is no such file.
        ValueError: it is not TOML, or no recipe.
        TypeError: a value of another type.
    """
    file = Path(path)
    try:
        return Recipe.from_dict(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:  # what tomllib raises is one too
        raise ValueError(f"{file}: {error}") from error
    except TypeError as error:
        raise TypeError(f"{file}: {error}") from error
