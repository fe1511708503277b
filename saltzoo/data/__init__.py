"""Tiles from the TGS challenge, one's own pictures or a generator, folds for cross-validation, and augmentation."""

from .augment import Augment
from .folder import picture_of, read_folder
from .folds import coverage_classes, folds_by_id, stratified_folds
from .survey_augment import SurveyAugment
from .synthetic import synthetic_tile, synthetic_tiles
from .tgs import read_tgs
from .tiles import Tiles

__all__ = [
    "Augment",
    "SurveyAugment",
    "Tiles",
    "coverage_classes",
    "folds_by_id",
    "picture_of",
    "read_folder",
    "read_tgs",
    "stratified_folds",
    "synthetic_tile",
    "synthetic_tiles",
]
