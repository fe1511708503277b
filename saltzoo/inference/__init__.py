"""Inference: probabilities of tiles and of pictures of any size, test-time augmentation, and cleaning up of masks."""

from .clean import clean
from .clean_search import BestClean, search_clean
from .crf import Bilateral, crf
from .disagreement import disagreement
from .gate import Gated
from .predict import predict
from .tiled import predict_tiled
from .tta import Compose, HorizontalFlip, Scale, Transform, Transpose, VerticalFlip

__all__ = [
    "BestClean",
    "Bilateral",
    "Compose",
    "Gated",
    "HorizontalFlip",
    "Scale",
    "Transform",
    "Transpose",
    "VerticalFlip",
    "clean",
    "crf",
    "disagreement",
    "predict",
    "predict_tiled",
    "search_clean",
]
