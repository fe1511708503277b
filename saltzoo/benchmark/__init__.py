"""Measurement of throughput: images per second of models, each setting in a fresh process."""

from .plan import Plan, measure_all
from .setting import Setting, measure

__all__ = ["Plan", "Setting", "measure", "measure_all"]
