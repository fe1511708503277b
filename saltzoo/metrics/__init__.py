"""Metrics of masks: a pure function, and an accumulator over batches and processes."""

from .salt_map import SaltMAP, salt_map

__all__ = ["SaltMAP", "salt_map"]
