"""Decoders: a pyramid of features in, a list of maps out, coarsest first."""

from .unet import UnetBlock, UnetDecoder

__all__ = ["UnetBlock", "UnetDecoder"]
