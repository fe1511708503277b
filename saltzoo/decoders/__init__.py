"""Decoders that several networks can use: a pyramid of features in, a list of maps out, coarsest first."""

from .unet import UnetDecoder

__all__ = ["UnetDecoder"]
