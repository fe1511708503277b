"""Tiles from the files of the TGS challenge or from a generator, folds for cross-validation, and augmentation."""

from .augment import Augment
from .folds import coverage_classes, folds_by_id, stratified_folds
from .synthetic import synthetic_tile, synthetic_tiles
from .tgs import read_tgs
from .tiles import Tiles

__all__ = [
    "Augment",
    "Tiles",
    "coverage_classes",
    "folds_by_id",
    "read_tgs",
    "stratified_folds",
    "synthetic_tile",
    "synthetic_tiles",
]
