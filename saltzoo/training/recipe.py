"""A recipe: everything that decides a training run, in one small TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from .._config import Count, Fraction, Range, check_finite_table, check_limits, read_options, to_table
from ..data import (
    Augment,
    SurveyAugment,
    Tiles,
    find_neighbours,
    folds_by_id,
    grouped_folds,
    picture_of,
    stratified_folds,
)
from .recipe_parts import (
    BCE_INTO_LOVASZ,
    CE_INTO_LOVASZ,
    AveragePart,
    LossPart,
    ModelPart,
    OptimizerPart,
    RatePart,
    StudentPart,
    SupervisionPart,
    SyntheticPart,
)
from .techniques.schedule import cycle_ends


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes:
        model: model that is trained.
        epochs: number of passes over the training tiles.
        batch_size: tiles in a step, over all processes.
        amp: "bf16" for autocast to bfloat16, "off" for float32, or "auto" for "bf16" where the processor or the GPU
            multiplies in bfloat16, else "off". Where it is emulated, bfloat16 can take 8 times as long as float32.
            Checkpoints hold what was chosen.
        compile: mode of torch.compile for the network, or "off". Compiling takes a minute or more, and makes each step
            faster; "reduce-overhead" uses CUDA graphs on a GPU.
        split: rule that assigns tiles to folds: "id" (`saltzoo.data.folds_by_id`, where tiles that `read_folder` cut
            from one picture are in one fold), "coverage" (`saltzoo.data.stratified_folds` with seed 0 of the tiles
            sorted by id), or "mosaic" (`saltzoo.data.grouped_folds` of the neighbours that are found among the tiles).
            The last two depend on all tiles together.
        folds: number of folds that the tiles are split into.
        fold: number of the fold that validates, from 0.
        seed: seed of first weights, order, augmentation and dropout.
        optimizer: optimiser.
        rate: schedule of the learning rate.
        losses: terms of the mask's loss. Without them cross-entropy first, then mostly the Lovász hinge, or the Lovász
            softmax if the model has several classes.
        ignore_index: value in the masks of unknown pixels, such as 255, which count in no loss and no score; None if
            every pixel is known. Every loss gets it.
        supervision: weights of the losses on the model's other outputs.
        augment: options of `saltzoo.data.Augment`.
        survey: options of `saltzoo.data.SurveyAugment`, which comes before `augment`; None for tiles of one survey.
        average: average of the weights that checkpoints hold.
        dtype: type of the saved weights: "float16" halves the file, "int8" quarters it. Final scores are of the saved
            weights.
        frozen_until: fraction of all steps by which the encoder is unfrozen, stage by stage; 0 freezes none.
        frozen_batch_norm: keep the batch norms of the encoder at their first values.
        student: unlabelled tiles that are learnt from; None for labelled tiles alone.
        synthetic: synthetic tiles in each batch; None for none.
    """

    model: ModelPart
    epochs: Count = 40
    batch_size: Count = 32
    amp: Literal["auto", "off", "bf16"] = "auto"
    compile: Literal["off", "default", "reduce-overhead", "max-autotune"] = "off"
    split: Literal["id", "coverage", "mosaic"] = "id"
    folds: Annotated[int, Range(2)] = 5
    fold: int = 0
    seed: Annotated[int, Range(0)] = 0
    optimizer: OptimizerPart = field(default_factory=OptimizerPart)
    rate: RatePart = field(default_factory=RatePart)
    losses: tuple[LossPart, ...] = BCE_INTO_LOVASZ
    ignore_index: Annotated[int, Range(0, 255)] | None = None
    supervision: SupervisionPart = field(default_factory=SupervisionPart)
    augment: Augment = field(default_factory=Augment)
    survey: SurveyAugment | None = None
    average: AveragePart = field(default_factory=AveragePart)
    dtype: Literal["float32", "float16", "int8"] = "float32"
    frozen_until: Fraction = 0.0
    frozen_batch_norm: bool = False
    student: StudentPart | None = None
    synthetic: SyntheticPart | None = None

    def __post_init__(self) -> None:
        check_limits(self)
        if not 0 <= self.fold < self.folds:
            raise ValueError(f"fold must be 0 to {self.folds - 1}, got {self.fold}")
        if self.losses is BCE_INTO_LOVASZ or self.losses is CE_INTO_LOVASZ:  # none was named
            object.__setattr__(self, "losses", BCE_INTO_LOVASZ if self.num_classes == 1 else CE_INTO_LOVASZ)
        self._check_classes()
        if not self.losses:
            raise ValueError("a recipe needs a loss: give [[losses]] with a name and a weight")
        for part in self.losses:
            part.curve  # noqa: B018  # raises if the weight is not a curve
        if self.rate.restarts and self.rate.restarts[-1] >= self.epochs:
            raise ValueError(
                f"rate.restarts must be below epochs={self.epochs}, got {list(self.rate.restarts)}: leave those out "
                f"after which no epoch follows"
            )
        if self.rate.restarts and self.average.kind == "swa":
            raise ValueError(
                'average.kind="swa" has no restarts and no more epochs: its mean of the last epochs would mix weights '
                "from before and after a restart. Begin another run with model.grow_from = the checkpoint of this one, "
                'or choose average.kind "ema" or "none"'
            )
        self.cycle_ends  # noqa: B018  # raises if there are too few epochs for the cycles
        check_finite_table(self.to_dict())

    def _check_classes(self) -> None:
        classes, ignored = self.num_classes, self.ignore_index
        if classes > 256:
            raise ValueError(f"model.options.num_classes must be at most 256, as masks hold 8 bits, got {classes}")
        if ignored is not None and ignored < max(classes, 2):
            raise ValueError(
                f"ignore_index must be no class, 0 to {max(classes, 2) - 1}, got {ignored}: mark unknown pixels by 255"
            )
        for part in self.losses:
            if part.options.get("ignore_index", ignored) != ignored:
                raise ValueError(
                    f"ignore_index of loss {part.name!r} must be that of the recipe, {ignored}, got "
                    f"{part.options['ignore_index']}: give the recipe ignore_index, which every loss gets"
                )
        if self.student is not None and classes > 1:
            raise ValueError(
                f"a student must have one class, salt, as teachers agree on masks, got num_classes={classes} in "
                f"model.options: leave [student] out, or num_classes"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes of the model: 1 for salt alone."""
        classes = self.model.options.get("num_classes", 1)
        return classes if isinstance(classes, int) else 1  # create_model refuses what is no number

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Recipe:
        """Return the recipe of nested tables, as a TOML or JSON file holds them.

        Raises:
            ValueError: if a key is unknown or missing, or a value is out of its range.
            TypeError: if a value has another type.
        """
        return read_options(cls, table, "the recipe")

    @classmethod
    def from_saved(cls, table: Mapping[str, Any]) -> Recipe:
        """Return the recipe in the card of a checkpoint. What is missing had another default when it was saved."""
        return cls.from_dict({"split": "coverage", "amp": "off", **table})

    def split_tiles(self, tiles: Tiles) -> npt.NDArray[np.int64]:
        """Return the fold in which each tile validates, N numbers from 0. The order of the tiles has no influence."""
        if self.split == "id":
            return folds_by_id(tiles.ids, n_folds=self.folds, group=picture_of)
        if self.split == "mosaic":
            return grouped_folds(find_neighbours(tiles), n_folds=self.folds)
        order = sorted(range(len(tiles)), key=tiles.ids.__getitem__)
        folds = np.empty(len(tiles), dtype=np.int64)
        folds[order] = stratified_folds(tiles.coverage[order], n_folds=self.folds, seed=0)
        return folds

    @property
    def stages(self) -> tuple[int, ...]:
        """Number of epochs before each restart of the learning rate, and of all epochs."""
        return (*self.rate.restarts, self.epochs)

    @property
    def cycle_ends(self) -> tuple[int, ...]:
        """Number of epochs after which each cycle of the learning rate ends."""
        first, *later = self.stages
        return (*cycle_ends(first, warmup=self.rate.warmup, cycles=self.rate.cycles), *later)

    def ends_cycle(self, epoch: int) -> bool:
        """Return whether one of several cycles ends with an epoch, counted from 0."""
        return self.rate.cycles > 1 and epoch + 1 in self.cycle_ends

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as nested tables of plain values, with all defaults."""
        return to_table(self)


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is not TOML, a key is unknown or missing, or a value is out of its range.
        TypeError: if a value has another type.
    """
    file = Path(path)
    try:
        return Recipe.from_dict(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:  # includes tomllib's error
        raise ValueError(f"{file}: {error}") from error
    except TypeError as error:
        raise TypeError(f"{file}: {error}") from error
