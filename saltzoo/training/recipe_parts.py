"""The tables of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from .._config import Count, Fraction, NonNegative, Positive, Probability, Range, check_limits
from .techniques.pseudo_labels import check_options
from .techniques.schedule import Curve

Inside = Annotated[float, Range(0, 1, open_low=True, open_high=True)]


@dataclass(frozen=True)
class ModelPart:
    """The model.

    Attributes:
        name: name of the model, as in `saltzoo.list_models()`.
        options: options of the model.
        training_options: further options for training alone, such as deep_supervision = true. Checkpoints hold the
            model of `options`, without what these add.
        pretrained_encoder: first weights of the encoder, as `create_model` takes them: true for timm's ImageNet
            weights, a path, or "hf-hub:ORG/NAME".
        grow_from: weights of a smaller network, or of the same, to start from: a checkpoint ("local-dir:PATH",
            "hf-hub:ORG/NAME") or a name with its tag ("saltnet_s.tgs"). First filters are adapted to in_chans.
        grow_without: dotted prefixes of tensors of the smaller network that are left out.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training_options: Mapping[str, Any] = field(default_factory=dict)
    pretrained_encoder: bool | str = False
    grow_from: str | None = None
    grow_without: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptimizerPart:
    """The optimiser.

    Attributes:
        name: "adamw" or "sgd".
        lr: peak learning rate.
        weight_decay: weight decay of matrices and filters; norms and biases have none.
        betas: coefficients of AdamW.
        momentum: Nesterov momentum of SGD.
        clip_norm: largest norm of the gradient of all parameters; 0 for no limit.
        encoder_scale: factor of the encoder's learning rate.
        scales: factors of learning rates, by dotted prefix of the parameters.
        normalized_gradient: divide the gradient of each tensor by its norm first.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: Positive = 1.5e-3
    weight_decay: NonNegative = 0.02
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    momentum: Fraction = 0.9
    clip_norm: NonNegative = 5.0
    encoder_scale: Positive = 1.0
    scales: Mapping[str, Positive] = field(default_factory=dict)
    normalized_gradient: bool = False

    def __post_init__(self) -> None:
        check_limits(self, prefix="optimizer.")


@dataclass(frozen=True)
class RatePart:
    """The schedule of the learning rate.

    Attributes:
        warmup: fraction of all steps in which the rate rises linearly to its peak.
        cycles: number of cosine cycles that follow, in whole epochs and as equal as possible. With several, each ends
            in a snapshot.
        restarts: numbers of epochs after which the rate starts again at its peak, for one more cosine cycle each. A
            run that is resumed with more epochs gets one. Warm-up, cycles and all fractions of steps are of the epochs
            before the first restart.
    """

    warmup: Fraction = 0.05
    cycles: Count = 1
    restarts: tuple[Count, ...] = ()

    def __post_init__(self) -> None:
        check_limits(self, prefix="rate.")
        if list(self.restarts) != sorted(set(self.restarts)):
            raise ValueError(f"rate.restarts must be increasing numbers of epochs, got {list(self.restarts)}")


@dataclass(frozen=True)
class AveragePart:
    """The average of the weights that checkpoints hold.

    Attributes:
        kind: "ema" (exponential), "swa" (stochastic: the mean over epochs) or "none".
        decay: decay of the exponential average.
        start: fraction of all steps after which the stochastic average begins; it adds the weights after each epoch.
        reestimate_batch_norm: compute the batch-norm statistics again at the end, on unaugmented tiles. The stochastic
            average needs it; the exponential one averages statistics too. None: only for the stochastic one.
    """

    kind: Literal["ema", "swa", "none"] = "ema"
    decay: Inside = 0.998
    start: Fraction = 0.75
    reestimate_batch_norm: bool | None = None

    def __post_init__(self) -> None:
        check_limits(self, prefix="average.")
        if self.kind == "none" and self.reestimate_batch_norm:
            raise ValueError(
                'average.reestimate_batch_norm needs an average, and average.kind is "none": '
                'leave it out, or choose the kind "ema" or "swa"'
            )

    @property
    def reestimates(self) -> bool:
        """Whether batch-norm statistics are computed again at the end."""
        return self.kind == "swa" if self.reestimate_batch_norm is None else self.reestimate_batch_norm

    def takes_epoch(self, epoch: int, epochs: int) -> bool:
        """Return whether the stochastic average adds the weights after an epoch, counted from 0."""
        return self.kind == "swa" and epoch + 1 > self.start * epochs


@dataclass(frozen=True)
class LossPart:
    """A term of the loss.

    Attributes:
        name: name of the loss, as in `saltzoo.losses.list_losses()`.
        weight: number, or points [[progress, weight], ...] of a piecewise linear function of the fraction of all steps
            that is done.
        options: options of the loss.
    """

    name: str
    weight: float | Sequence[Sequence[float]] = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def curve(self) -> Curve:
        """The weight as a function of the progress."""
        return Curve.of(self.weight)


@dataclass(frozen=True)
class StudentPart:
    """Unlabelled tiles that are learnt from, with masks on which teachers agree.

    Attributes:
        teachers: weights of one network or more: checkpoints ("local-dir:PATH", "hf-hub:ORG/NAME") or names with
            their tags ("saltnet_s.tgs"), all trained with the validation tiles of this run held out.
        share: fraction of each batch that is pseudo-labelled.
        tta: "hflip" averages a teacher's predictions for a tile and its mirror image; or "none".
        sure: smallest fraction of certain pixels in a tile. This option and the following are those of `agreement`.
        low: largest probability that counts as certainly no salt.
        high: smallest probability that counts as certainly salt.
        min_iou: smallest mean IoU between the teachers' masks and the mask of their mean.
        empty_share: fraction of empty masks among the kept ones.
    """

    teachers: tuple[str, ...]
    share: Inside = 0.5
    tta: Literal["none", "hflip"] = "hflip"
    sure: Probability = 0.9
    low: float = 0.2
    high: float = 0.8
    min_iou: Probability = 0.8
    empty_share: Probability = 0.39

    def __post_init__(self) -> None:
        if not self.teachers:
            raise ValueError('a student needs a teacher: give student.teachers, such as ["local-dir:runs/fold0/model"]')
        check_limits(self, prefix="student.")
        check_options(low=self.low, high=self.high)


@dataclass(frozen=True)
class SyntheticPart:
    """Synthetic tiles in each batch, as `saltzoo.data.synthetic_tiles` draws them.

    The same tiles serve many epochs, because a core draws about as many tiles a second as it trains: drawing all anew
    would double the time of a run, and halt a GPU. `renewed` lets the pool change slowly.

    Attributes:
        share: fraction of each batch that is synthetic.
        count: number of tiles in the pool, which are drawn before the first epoch.
        seed: number of their series: another one than that of synthetic tiles that train or validate as labelled ones.
        renewed: number of tiles, the oldest ones, that new ones replace before each further epoch.
    """

    share: Inside = 0.25
    count: Count = 4000
    seed: Annotated[int, Range(0)] = 1000
    renewed: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        check_limits(self, prefix="synthetic.")
        if self.renewed > self.count:
            raise ValueError(
                f"synthetic.renewed must be at most synthetic.count={self.count}, got {self.renewed}: give a larger "
                f"count, or renew fewer"
            )


@dataclass(frozen=True)
class SupervisionPart:
    """Weights of the losses on other outputs than the mask, as `DeepSupervisionLoss` takes them.

    Attributes:
        map_weight: weight of the mean over the decoder's maps.
        image_weight: weight of the image classifier.
        auxiliary_weight: weight of the auxiliary head.
    """

    map_weight: float = 0.1
    image_weight: float = 0.05
    auxiliary_weight: float = 0.4


BCE_INTO_LOVASZ = (
    LossPart("bce_loss", ((0.05, 1.0), (0.10, 0.2))),
    LossPart("lovasz_hinge", ((0.05, 0.0), (0.10, 1.0)), {"margin": "elu", "symmetric": True}),
)
"""Losses of a recipe that names none: cross-entropy first, then mostly the Lovász hinge."""

CE_INTO_LOVASZ = (
    LossPart("ce_loss", ((0.05, 1.0), (0.10, 0.2))),
    LossPart("lovasz_softmax", ((0.05, 0.0), (0.10, 1.0))),
)
"""The same for several classes, with the Lovász softmax."""
