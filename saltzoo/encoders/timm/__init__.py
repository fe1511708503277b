"""timm networks as encoders. No other package imports timm."""

from .encoder import TimmEncoder

__all__ = ["TimmEncoder"]
