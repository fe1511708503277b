"""The names of models and weights, and what they stand for. Imports neither torch nor timm.

`create_model` is in `zoo.factory`, and is public as `saltzoo.create_model`.
"""

from .registry import is_model, list_models, register_model, register_weights
from .spec import ModelSpec, WeightsSpec

__all__ = ["ModelSpec", "WeightsSpec", "is_model", "list_models", "register_model", "register_weights"]
