"""Inference: tiles in, probabilities out."""

from .predict import predict

__all__ = ["predict"]
