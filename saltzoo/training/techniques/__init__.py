"""Techniques of training that work without a recipe, in any training loop."""

from .averaging import WeightAverage, exponential_average, reestimate_batch_norm, stochastic_average
from .freezing import freeze, keep_batch_norm_frozen, release_batch_norm, unfreeze
from .groups import parameter_groups
from .growing import Growth, grow
from .normalized_gradient import normalized_gradient
from .pseudo_labels import PseudoLabels, agreement
from .schedule import Curve, rate_factor
from .unfreezing import GradualUnfreezing, unfreezing_stages

__all__ = [
    "Curve",
    "GradualUnfreezing",
    "Growth",
    "PseudoLabels",
    "WeightAverage",
    "agreement",
    "exponential_average",
    "freeze",
    "grow",
    "keep_batch_norm_frozen",
    "normalized_gradient",
    "parameter_groups",
    "rate_factor",
    "reestimate_batch_norm",
    "release_batch_norm",
    "stochastic_average",
    "unfreeze",
    "unfreezing_stages",
]
