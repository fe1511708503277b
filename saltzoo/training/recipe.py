"""A recipe: all that a training run is told, in one small TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..data import Augment
from .schedule import Curve

T = TypeVar("T")


@dataclass(frozen=True)
class ModelPart:
    """What is trained.

    Attributes:
        name: of `saltzoo.list_models()`.
        options: of its builder; those that only training needs (deep supervision, an auxiliary head) too.
        pretrained_encoder: start from ImageNet weights.
        grow_from: a checkpoint ("local-dir:PATH", "hf-hub:org/name") of a smaller network to start from.
        grow_without: dotted prefixes of the smaller network's tensors that are left out.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    pretrained_encoder: bool = False
    grow_from: str | None = None
    grow_without: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptimizerPart:
    """How weights move.

    Attributes:
        name: "adamw" or "sgd", of torch.
        lr: peak rate.
        weight_decay: of matrices and filters; norms and biases are not decayed.
        betas: of AdamW.
        momentum: of SGD (Nesterov's).
        clip_norm: largest norm of the whole gradient; None for no limit.
        encoder_scale: factor of the encoder's rate.
        scales: dotted prefix of parameters -> factor of their rate.
        normalized_gradient: divide each tensor's gradient by its norm first.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1.5e-3
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.9
    clip_norm: float | None = 5.0
    encoder_scale: float = 1.0
    scales: Mapping[str, float] = field(default_factory=dict)
    normalized_gradient: bool = False


@dataclass(frozen=True)
class RatePart:
    """How the rate moves.

    Attributes:
        warmup: share of all steps in which it rises to its peak.
        cycles: of the cosine that follows; each ends in a snapshot where there are several.
    """

    warmup: float = 0.05
    cycles: int = 1


@dataclass(frozen=True)
class AveragePart:
    """Which average of the weights is kept.

    Attributes:
        kind: "ema", "swa" or "none".
        decay: of the exponential average.
        start: share of all steps after which the stochastic average begins, once an epoch.
        reestimate_batch_norm: make the statistics of batch norm anew on unaugmented tiles at the end. A stochastic
            average needs it; an exponential one has averaged statistics already.
    """

    kind: Literal["ema", "swa", "none"] = "ema"
    decay: float = 0.998
    start: float = 0.75
    reestimate_batch_norm: bool = False


@dataclass(frozen=True)
class LossPart:
    """One of the losses that are summed.

    Attributes:
        name: of `saltzoo.losses.list_losses()`.
        weight: a number, or points [[progress, weight], ...] between which it goes in straight lines.
        options: of the loss.
    """

    name: str
    weight: float | Sequence[Sequence[float]] = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def curve(self) -> Curve:
        """The weight over the progress of training."""
        return Curve.of(self.weight)


@dataclass(frozen=True)
class SupervisionPart:
    """Weights of what a model returns beside its mask; those of `DeepSupervisionLoss`."""

    map_weight: float = 0.1
    image_weight: float = 0.05
    auxiliary_weight: float = 0.4


_BCE_INTO_LOVASZ = (
    LossPart("bce_loss", ((0.05, 1.0), (0.10, 0.2))),
    LossPart("lovasz_hinge", ((0.05, 0.0), (0.10, 1.0)), {"margin": "elu", "symmetric": True}),
)


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes:
        model: what is trained.
        epochs: passes over the training tiles.
        batch_size: tiles a step, over all processes.
        amp: "off", or "bf16" for autocast to bfloat16.
        folds: into how many the tiles are split, stratified by coverage, seed 0.
        optimizer: how weights move.
        rate: how the rate moves.
        losses: what is summed into the mask's loss.
        supervision: weights of a model's other outputs.
        augment: options of `saltzoo.data.Augment`.
        average: which average of the weights is kept.
        frozen_until: share of all steps by which the encoder is unfrozen, stage by stage; 0 trains all of it at once.
        frozen_batch_norm: keep the encoder's batch norms as they start.
    """

    model: ModelPart
    epochs: int = 40
    batch_size: int = 32
    amp: Literal["off", "bf16"] = "off"
    folds: int = 5
    optimizer: OptimizerPart = OptimizerPart()
    rate: RatePart = RatePart()
    losses: tuple[LossPart, ...] = _BCE_INTO_LOVASZ
    supervision: SupervisionPart = SupervisionPart()
    augment: Augment = field(default_factory=Augment)
    average: AveragePart = AveragePart()
    frozen_until: float = 0.0
    frozen_batch_norm: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.folds < 2:
            raise ValueError(f"folds must be at least 2, got {self.folds}")
        if not self.losses:
            raise ValueError("a recipe needs a loss: give [[losses]] with a name and a weight")
        for part in self.losses:
            part.curve  # noqa: B018  # says what is wrong with it
        if not self.optimizer.lr > 0:
            raise ValueError(f"optimizer.lr must be above 0, got {self.optimizer.lr}")
        for name, share in (("rate.warmup", self.rate.warmup), ("frozen_until", self.frozen_until)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} is a share of all steps, 0 up to 1, got {share}")
        if self.rate.cycles < 1:
            raise ValueError(f"rate.cycles must be at least 1, got {self.rate.cycles}")

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Recipe:
        """A recipe of nested tables, as a TOML or JSON file holds them.

        Raises:
            ValueError: a key that no recipe has, one that is missing, or a value that makes no sense.
            TypeError: a value of another type.
        """
        return _read(cls, table, "the recipe")

    def ends_cycle(self, epoch: int) -> bool:
        """Whether one of several cycles of the rate ends in that epoch, counted from 0."""
        if self.rate.cycles == 1:
            return False
        done = [self.cycle_at((epoch + extra) / self.epochs) for extra in (0, 1)]
        return done[0] != done[1] or epoch + 1 == self.epochs

    def cycle_at(self, progress: float) -> int:
        """Which cycle of the rate that is, from 0."""
        return int(self.rate.cycles * max(0.0, progress - self.rate.warmup) / (1 - self.rate.warmup) + 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """The same as nested tables of plain values, all of them told."""
        return _plain(asdict(self))


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


def _read(kind: type[T], table: Any, where: str) -> T:
    if not isinstance(table, Mapping):
        raise TypeError(f"{where} is a table of {kind.__name__}, got {table!r}")
    hints = get_type_hints(kind)
    known = {part.name: part for part in fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
            raise ValueError(f"{where} has no key {key!r}: {hint}")
    missing = [k for k, f in known.items() if k not in table and f.default is MISSING and f.default_factory is MISSING]
    if missing:
        raise ValueError(f"{where} needs {', '.join(missing)}")
    return kind(**{key: _value(hints[key], value, f"{key} of {where}") for key, value in table.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return _read(hint, value, where)  # type: ignore[arg-type]  # a class, as annotations are
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"{where} must be one of {', '.join(map(repr, inner))}, got {value!r}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
        if len(kinds) == len(value):
            return tuple(_value(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    elif origin is Mapping and isinstance(value, Mapping):
        return dict(value)
    elif origin in (Union, UnionType):
        if value is None and type(None) in inner:
            return None
        for kind in inner:
            try:
                return _value(kind, value, where)
            except TypeError:
                continue
    elif origin is Sequence and isinstance(value, list | tuple):
        return tuple(_value(inner[0], item, where) for item in value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise TypeError(f"{where} must be {getattr(hint, '__name__', hint)}, got {value!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
