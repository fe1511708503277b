"""Encoders that several networks can use: an image in, a pyramid of features out."""

from .input_skip import InputSkip
from .plain import PlainEncoder
from .timm.encoder import TimmEncoder

__all__ = ["InputSkip", "PlainEncoder", "TimmEncoder"]
