"""Deployment: models made faster for inference, exported to other runtimes, and loaded from there."""

from .export import export
from .load import Exported, load
from .optimize import Optimized, optimize
from .runtimes import SUFFIXES
from .table import export_rows

__all__ = ["SUFFIXES", "Exported", "Optimized", "export", "export_rows", "load", "optimize"]
