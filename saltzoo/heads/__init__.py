"""Heads: maps in, logits out."""

from .classification import ClassificationHead
from .deep_supervision import AuxiliaryHead, DeepSupervisionHead
from .hypercolumn import HypercolumnHead
from .segmentation import SegmentationHead

__all__ = ["AuxiliaryHead", "ClassificationHead", "DeepSupervisionHead", "HypercolumnHead", "SegmentationHead"]
