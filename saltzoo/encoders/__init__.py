"""Encoders that several networks use: modules from an image to feature maps, finest first."""

from .input_skip import InputSkip
from .plain import PlainEncoder
from .timm.encoder import TimmEncoder

__all__ = ["InputSkip", "PlainEncoder", "TimmEncoder"]
