"""Whole networks: a dataclass of options each, whose `build()` returns a Segmenter, and the wiring they share."""

from ..contracts import ModelConfig
from .frrn import FRRNOptions
from .pspunet import PSPUNetOptions
from .resunet import ResUnetOptions
from .saltnet import SaltnetOptions
from .segmenter import Segmenter
from .unet import PlainUnetOptions, UnetOptions

__all__ = [
    "FRRNOptions",
    "ModelConfig",
    "PSPUNetOptions",
    "PlainUnetOptions",
    "ResUnetOptions",
    "SaltnetOptions",
    "Segmenter",
    "UnetOptions",
]
