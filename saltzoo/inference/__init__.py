"""Inference: probabilities from tiles."""

from .predict import predict

__all__ = ["predict"]
