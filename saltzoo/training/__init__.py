"""Training: recipes and their runs, and techniques that torch and timm lack."""

from .cross_validation import cross_validate
from .fit import fit
from .recipe import Recipe, read_recipe
from .recipe_parts import (
    AveragePart,
    LossPart,
    ModelPart,
    OptimizerPart,
    RatePart,
    StudentPart,
    SupervisionPart,
    SyntheticPart,
)
from .techniques.averaging import WeightAverage, exponential_average, reestimate_batch_norm, stochastic_average
from .techniques.freezing import freeze, keep_batch_norm_frozen, release_batch_norm, unfreeze
from .techniques.groups import parameter_groups
from .techniques.growing import Growth, grow
from .techniques.normalized_gradient import normalized_gradient
from .techniques.pseudo_labels import PseudoLabels, agreement
from .techniques.schedule import Curve, rate_factor
from .techniques.unfreezing import GradualUnfreezing, unfreezing_stages
from .trainer import Trainer

__all__ = [
    "AveragePart",
    "Curve",
    "GradualUnfreezing",
    "Growth",
    "LossPart",
    "ModelPart",
    "OptimizerPart",
    "PseudoLabels",
    "RatePart",
    "Recipe",
    "StudentPart",
    "SupervisionPart",
    "SyntheticPart",
    "Trainer",
    "WeightAverage",
    "agreement",
    "cross_validate",
    "exponential_average",
    "fit",
    "freeze",
    "grow",
    "keep_batch_norm_frozen",
    "normalized_gradient",
    "parameter_groups",
    "rate_factor",
    "read_recipe",
    "reestimate_batch_norm",
    "release_batch_norm",
    "stochastic_average",
    "unfreeze",
    "unfreezing_stages",
]
