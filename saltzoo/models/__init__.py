"""Whole networks: the builders that the catalog names, and the wiring they share."""

from ..contracts import ModelConfig
from .frrn import frrn
from .pspunet import pspunet
from .resunet import resunet
from .saltnet import SaltnetOptions
from .segmenter import Segmenter
from .unet import PlainUnetOptions, UnetOptions

__all__ = [
    "ModelConfig",
    "PlainUnetOptions",
    "SaltnetOptions",
    "Segmenter",
    "UnetOptions",
    "frrn",
    "pspunet",
    "resunet",
]
