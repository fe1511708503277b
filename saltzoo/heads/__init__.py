"""Heads: decoder maps in, logits out."""

from .segmentation import SegmentationHead

__all__ = ["SegmentationHead"]
