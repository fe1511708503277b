"""Tiles from the TGS challenge, one's own pictures or a generator: folds, augmentation, mosaics, submissions."""

from .augment import Augment
from .carry import carry_masks
from .folder import picture_of, read_folder
from .folds import coverage_classes, folds_by_id, grouped_folds, stratified_folds
from .mosaic import Mosaics, assemble, mosaic_picture
from .neighbours import NeighbourPairs, find_neighbours
from .rle import rle_decode, rle_encode
from .submission import write_submission
from .survey_augment import SurveyAugment
from .synthetic import synthetic_tile, synthetic_tiles
from .synthetic_survey import SyntheticSurvey, make_survey
from .tgs import read_tgs
from .tiles import Tiles

__all__ = [
    "Augment",
    "Mosaics",
    "NeighbourPairs",
    "SurveyAugment",
    "SyntheticSurvey",
    "Tiles",
    "assemble",
    "carry_masks",
    "coverage_classes",
    "find_neighbours",
    "folds_by_id",
    "grouped_folds",
    "make_survey",
    "mosaic_picture",
    "picture_of",
    "read_folder",
    "read_tgs",
    "rle_decode",
    "rle_encode",
    "stratified_folds",
    "synthetic_tile",
    "synthetic_tiles",
    "write_submission",
]
