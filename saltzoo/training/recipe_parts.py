"""The tables of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .techniques.pseudo_labels import check_options
from .techniques.schedule import Curve, check_share


@dataclass(frozen=True)
class ModelPart:
    """What is trained.

    Attributes:
        name: of `saltzoo.list_models()`.
        options: of its builder.
        training_options: more of them for training alone, such as deep_supervision = true: what they add is dropped
            from the checkpoints, which hold the model of `options`.
        pretrained_encoder: first weights of the encoder: true for timm's ImageNet weights, a path, or
            "hf-hub:ORG/NAME", as `create_model` takes them.
        grow_from: weights to start from, of a smaller network or of the same: a checkpoint ("local-dir:PATH",
            "hf-hub:org/name"), or a name with its tag ("saltnet_s.tgs"). First filters are adapted to in_chans.
        grow_without: dotted prefixes of the smaller network's tensors that are left out.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training_options: Mapping[str, Any] = field(default_factory=dict)
    pretrained_encoder: bool | str = False
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
        clip_norm: largest norm of the whole gradient; 0 for no limit.
        encoder_scale: factor of the encoder's rate.
        scales: dotted prefix of parameters -> factor of their rate.
        normalized_gradient: divide each tensor's gradient by its norm first.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1.5e-3
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.9
    clip_norm: float = 5.0
    encoder_scale: float = 1.0
    scales: Mapping[str, float] = field(default_factory=dict)
    normalized_gradient: bool = False

    def __post_init__(self) -> None:
        factors = {f"scales.{prefix}": factor for prefix, factor in self.scales.items()}
        for name, rate in {"lr": self.lr, "encoder_scale": self.encoder_scale, **factors}.items():
            if not rate > 0:
                raise ValueError(f"optimizer.{name} must be above 0, got {rate}")
        for name in ("weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"optimizer.{name} must be 0 (for none) or more, got {getattr(self, name)}")
        for name, kept in (("momentum", self.momentum), *(("betas", beta) for beta in self.betas)):
            if not 0 <= kept < 1:
                raise ValueError(f"optimizer.{name} must be 0 to below 1, got {kept}")


@dataclass(frozen=True)
class RatePart:
    """How the rate moves.

    Attributes:
        warmup: share of all steps in which it rises to its peak.
        cycles: of the cosine that follows, as even as can be in whole epochs; where there are several, each ends in a
            snapshot.
    """

    warmup: float = 0.05
    cycles: int = 1

    def __post_init__(self) -> None:
        check_share("rate.warmup", self.warmup)
        if self.cycles < 1:
            raise ValueError(f"rate.cycles must be at least 1, got {self.cycles}")


@dataclass(frozen=True)
class AveragePart:
    """Which average of the weights is kept.

    Attributes:
        kind: "ema", "swa" or "none".
        decay: of the exponential average.
        start: share of all steps after which the stochastic average begins; it takes in the weights after each epoch.
        reestimate_batch_norm: make the statistics of batch norm anew on unaugmented tiles at the end. A stochastic
            average needs it; an exponential one has averaged statistics already. None: for the stochastic one alone.
    """

    kind: Literal["ema", "swa", "none"] = "ema"
    decay: float = 0.998
    start: float = 0.75
    reestimate_batch_norm: bool | None = None

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"average.decay must be between 0 and 1, such as 0.998, got {self.decay}")
        check_share("average.start", self.start)
        if self.kind == "none" and self.reestimate_batch_norm:
            raise ValueError(
                'average.reestimate_batch_norm is of an average, and average.kind is "none": '
                'leave it out, or give the kind "ema" or "swa"'
            )

    @property
    def reestimates(self) -> bool:
        """Whether batch norms are made anew at the end."""
        return self.kind == "swa" if self.reestimate_batch_norm is None else self.reestimate_batch_norm


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
class StudentPart:
    """Learning from unlabelled tiles, by the masks that teachers agree on.

    Attributes:
        teachers: weights of one network or more: checkpoints ("local-dir:PATH", "hf-hub:org/name"), or names with
            their tags ("saltnet_s.tgs"). All were trained for the fold that validates.
        share: of each batch that is pseudo-labelled.
        tta: "hflip" averages what a teacher says of each tile and its mirror image; or "none".
        sure: least share of a tile's pixels that the teachers are sure of; this and what follows of `agreement`.
        low: at most this is surely no salt.
        high: at least this is surely salt.
        min_iou: least mean IoU between the teachers' masks and that of their mean.
        empty_share: share of the kept masks that are empty.
    """

    teachers: tuple[str, ...]
    share: float = 0.5
    tta: Literal["none", "hflip"] = "hflip"
    sure: float = 0.9
    low: float = 0.2
    high: float = 0.8
    min_iou: float = 0.8
    empty_share: float = 0.39

    def __post_init__(self) -> None:
        if not self.teachers:
            raise ValueError('a student needs a teacher: give student.teachers, such as ["local-dir:runs/fold0/model"]')
        if not 0 < self.share < 1:
            raise ValueError(f"student.share is the pseudo-labelled part of a batch, between 0 and 1, got {self.share}")
        check_options(
            sure=self.sure,
            low=self.low,
            high=self.high,
            min_iou=self.min_iou,
            empty_share=self.empty_share,
        )


@dataclass(frozen=True)
class SupervisionPart:
    """Weights of what a model returns beside its mask; those of `DeepSupervisionLoss`."""

    map_weight: float = 0.1
    image_weight: float = 0.05
    auxiliary_weight: float = 0.4


BCE_INTO_LOVASZ = (
    LossPart("bce_loss", ((0.05, 1.0), (0.10, 0.2))),
    LossPart("lovasz_hinge", ((0.05, 0.0), (0.10, 1.0)), {"margin": "elu", "symmetric": True}),
)
"""What is summed if a recipe names no losses: cross-entropy first, then mostly the Lovasz hinge."""
