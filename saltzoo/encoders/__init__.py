"""Encoders: an image in, a pyramid of features out."""

from .timm import TimmEncoder

__all__ = ["TimmEncoder"]
