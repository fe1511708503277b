"""Inference: probabilities from tiles, where models disagree, and how masks are cleaned up."""

from .clean import clean
from .clean_search import BestClean, search_clean
from .crf import Bilateral, crf
from .disagreement import disagreement
from .gate import Gated
from .predict import predict

__all__ = ["BestClean", "Bilateral", "Gated", "clean", "crf", "disagreement", "predict", "search_clean"]
