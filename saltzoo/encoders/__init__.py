"""Encoders: modules from an image to feature maps, finest first."""

from .frrn import FRRNEncoder
from .input_skip import InputSkip
from .plain import PlainEncoder
from .pspunet import PSPUNetEncoder
from .resunet import ResUnetEncoder
from .saltnet import SaltnetEncoder
from .timm.encoder import TimmEncoder

__all__ = [
    "FRRNEncoder",
    "InputSkip",
    "PSPUNetEncoder",
    "PlainEncoder",
    "ResUnetEncoder",
    "SaltnetEncoder",
    "TimmEncoder",
]
