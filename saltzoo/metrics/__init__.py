"""Metrics of masks. Each is a function, and an accumulator over batches and processes."""

from .confusion import ConfusionMatrix, ConfusionScores, confusion_matrix, confusion_scores
from .dice import DiceScore, dice_score
from .empty_accuracy import EmptyAccuracy, EmptyShares, empty_accuracy
from .iou import IoUScore, iou_score
from .pixel_accuracy import PixelAccuracy, pixel_accuracy
from .salt_map import SaltMAP, salt_map
from .shift import shift_probabilities
from .threshold_search import BestThreshold, ThresholdSearch, search_threshold

__all__ = [
    "BestThreshold",
    "ConfusionMatrix",
    "ConfusionScores",
    "DiceScore",
    "EmptyAccuracy",
    "EmptyShares",
    "IoUScore",
    "PixelAccuracy",
    "SaltMAP",
    "ThresholdSearch",
    "confusion_matrix",
    "confusion_scores",
    "dice_score",
    "empty_accuracy",
    "iou_score",
    "pixel_accuracy",
    "salt_map",
    "search_threshold",
    "shift_probabilities",
]
