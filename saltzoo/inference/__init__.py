"""Inference: probabilities of tiles and of pictures of any size, and test-time augmentation."""

from .predict import predict
from .tiled import predict_tiled
from .tta import Compose, HorizontalFlip, Scale, Transform, Transpose, VerticalFlip

__all__ = [
    "Compose",
    "HorizontalFlip",
    "Scale",
    "Transform",
    "Transpose",
    "VerticalFlip",
    "predict",
    "predict_tiled",
]
