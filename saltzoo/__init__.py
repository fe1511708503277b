"""saltzoo: a model zoo for segmenting salt in seismic images.

Public names load on first use: importing the package imports neither torch nor timm.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import convert, data, draw, layers, losses, metrics, training
    from .costs import cost
    from .factory import create_model
    from .hub import push_to_hub
    from .inference import predict
    from .models import Segmenter
    from .output import SegOutput
    from .preprocess import Preprocess
    from .registry import is_model, list_models, register_model, register_weights
    from .saving import save_pretrained
    from .spec import ModelSpec, WeightsSpec

__version__ = "0.1.0"

_MODULE_OF = {
    "ModelSpec": "spec",
    "Preprocess": "preprocess",
    "SegOutput": "output",
    "Segmenter": "models",
    "WeightsSpec": "spec",
    "cost": "costs",
    "create_model": "factory",
    "is_model": "registry",
    "list_models": "registry",
    "predict": "inference",
    "push_to_hub": "hub",
    "register_model": "registry",
    "register_weights": "registry",
    "save_pretrained": "saving",
}
_SUBPACKAGES = ("convert", "data", "draw", "layers", "losses", "metrics", "training")

__all__ = [
    "ModelSpec",
    "Preprocess",
    "SegOutput",
    "Segmenter",
    "WeightsSpec",
    "__version__",
    "convert",
    "cost",
    "create_model",
    "data",
    "draw",
    "is_model",
    "layers",
    "list_models",
    "losses",
    "metrics",
    "predict",
    "push_to_hub",
    "register_model",
    "register_weights",
    "save_pretrained",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    if name in _SUBPACKAGES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
