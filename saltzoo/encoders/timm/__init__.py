"""timm networks as encoders. The only package that imports timm."""

from .encoder import TimmEncoder

__all__ = ["TimmEncoder"]
