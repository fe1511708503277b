"""Layers: one idea a file, each usable alone."""

from .attention import ATTENTIONS, build_attention
from .conv import ConvNormAct
from .scse import SCSE

__all__ = ["ATTENTIONS", "SCSE", "ConvNormAct", "build_attention"]
