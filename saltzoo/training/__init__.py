"""Training: recipes and their runs, and the parts that torch and timm lack."""

from .averaging import WeightAverage, exponential_average, reestimate_batch_norm, stochastic_average
from .cross_validation import cross_validate
from .freezing import freeze, keep_batch_norm_frozen, release_batch_norm, unfreeze
from .groups import parameter_groups
from .growing import Growth, grow
from .normalized_gradient import normalized_gradient
from .pseudo_labels import PseudoLabels, agreement
from .recipe import Recipe, read_recipe
from .run import fit
from .schedule import Curve, rate_factor
from .trainer import Trainer
from .unfreezing import GradualUnfreezing, unfreezing_stages

__all__ = [
    "Curve",
    "GradualUnfreezing",
    "Growth",
    "PseudoLabels",
    "Recipe",
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
