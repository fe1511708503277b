"""Training: recipes and their runs, and the parts that torch and timm lack."""

from .cross_validation import cross_validate
from .recipe import Recipe, read_recipe
from .run import fit
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
