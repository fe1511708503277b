"""Whole networks: the builders that the catalog names, and the wiring they share."""

from .segmenter import ModelConfig, Segmenter
from .unet import unet

__all__ = ["ModelConfig", "Segmenter", "unet"]
