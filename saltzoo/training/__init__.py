"""Training: the parts that torch and timm lack."""

from .averaging import WeightAverage, exponential_average, reestimate_batch_norm, stochastic_average
from .freezing import freeze, keep_batch_norm_frozen, release_batch_norm, unfreeze
from .groups import parameter_groups
from .growing import Growth, grow
from .normalized_gradient import normalized_gradient
from .pseudo_labels import PseudoLabels, agreement
from .unfreezing import GradualUnfreezing, unfreezing_stages

__all__ = [
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
    "reestimate_batch_norm",
    "release_batch_norm",
    "stochastic_average",
    "unfreeze",
    "unfreezing_stages",
]
