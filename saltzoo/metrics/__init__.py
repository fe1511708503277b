"""Metrics of masks. Each is a function, and an accumulator over batches and processes."""

from .boundary import BoundaryDistance, BoundaryDistances, boundary_distance
from .confusion import ConfusionMatrix, ConfusionScores, confusion_matrix, confusion_scores
from .dice import DiceScore, dice_score
from .empty_accuracy import EmptyAccuracy, EmptyShares, empty_accuracy
from .fbeta import FBetaScore, fbeta_score
from .iou import IoUScore, iou_score
from .matthews import MatthewsScore, matthews_score
from .pixel_accuracy import PixelAccuracy, pixel_accuracy
from .precision import PrecisionScore, precision_score
from .recall import RecallScore, recall_score
from .salt_map import SaltMAP, salt_map
from .shift import shift_probabilities
from .specificity import SpecificityScore, specificity_score
from .threshold_search import BestThreshold, ThresholdSearch, search_threshold

__all__ = [
    "BestThreshold",
    "BoundaryDistance",
    "BoundaryDistances",
    "ConfusionMatrix",
    "ConfusionScores",
    "DiceScore",
    "EmptyAccuracy",
    "EmptyShares",
    "FBetaScore",
    "IoUScore",
    "MatthewsScore",
    "PixelAccuracy",
    "PrecisionScore",
    "RecallScore",
    "SaltMAP",
    "SpecificityScore",
    "ThresholdSearch",
    "boundary_distance",
    "confusion_matrix",
    "confusion_scores",
    "dice_score",
    "empty_accuracy",
    "fbeta_score",
    "iou_score",
    "matthews_score",
    "pixel_accuracy",
    "precision_score",
    "recall_score",
    "salt_map",
    "search_threshold",
    "shift_probabilities",
    "specificity_score",
]
