"""saltzoo: a model zoo for segmenting salt in seismic images.

Public names load on first use: importing the package imports neither torch nor timm.
"""

from ._version import __version__

TYPE_CHECKING = False  # type checkers take this name for true; typing itself takes longer to import than the package

if TYPE_CHECKING:
    from typing import Any

    from . import convert, data, deploy, draw, inference, layers, losses, metrics, seismic, training
    from .contracts import SegOutput
    from .inference import predict, predict_tiled
    from .models import Segmenter
    from .models.cost import cost
    from .preprocess import Preprocess
    from .zoo import ModelSpec, WeightsSpec, is_model, list_models, register_model, register_weights
    from .zoo.classes import change_num_classes
    from .zoo.ensemble import Ensemble
    from .zoo.factory import create_model
    from .zoo.push import push_to_hub
    from .zoo.save import save_pretrained

_MODULE_OF = {
    "Ensemble": "zoo.ensemble",
    "ModelSpec": "zoo",
    "Preprocess": "preprocess",
    "SegOutput": "contracts",
    "Segmenter": "models",
    "WeightsSpec": "zoo",
    "change_num_classes": "zoo.classes",
    "cost": "models.cost",
    "create_model": "zoo.factory",
    "is_model": "zoo",
    "list_models": "zoo",
    "predict": "inference",
    "predict_tiled": "inference",
    "push_to_hub": "zoo.push",
    "register_model": "zoo",
    "register_weights": "zoo",
    "save_pretrained": "zoo.save",
}
_SUBPACKAGES = ("convert", "data", "deploy", "draw", "inference", "layers", "losses", "metrics", "seismic", "training")

__all__ = [
    "Ensemble",
    "ModelSpec",
    "Preprocess",
    "SegOutput",
    "Segmenter",
    "WeightsSpec",
    "__version__",
    "change_num_classes",
    "convert",
    "cost",
    "create_model",
    "data",
    "deploy",
    "draw",
    "inference",
    "is_model",
    "layers",
    "list_models",
    "losses",
    "metrics",
    "predict",
    "predict_tiled",
    "push_to_hub",
    "register_model",
    "register_weights",
    "save_pretrained",
    "seismic",
    "training",
]


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name in _MODULE_OF:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    if name in _SUBPACKAGES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
