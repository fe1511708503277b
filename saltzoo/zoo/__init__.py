"""Names of models and weights, and how they become models. Imports neither torch nor timm.

`create_model` is in `zoo.factory`, which imports both.
"""

from .registry import is_model, list_models, register_model, register_weights
from .spec import ModelSpec, WeightsSpec

__all__ = ["ModelSpec", "WeightsSpec", "is_model", "list_models", "register_model", "register_weights"]
