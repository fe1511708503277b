"""Deployment: models made faster for inference, exported to other runtimes, and loaded from there."""

from .optimize import Optimized, optimize

__all__ = ["Optimized", "optimize"]
