"""Decoders: a pyramid of features in, a list of maps out, coarsest first."""

from .frrn import FRRNDecoder
from .pspunet import PSPUNetDecoder
from .resunet import ResUnetBlock
from .unet import UnetDecoder

__all__ = ["FRRNDecoder", "PSPUNetDecoder", "ResUnetBlock", "UnetDecoder"]
