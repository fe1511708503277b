"""Options that metrics of classes share, and their limits."""

from collections.abc import Sequence
from typing import Literal, get_args

from .._checks import check_choice, check_class_subset
from ._class_mean import ClassAverage

Average = Literal["micro", "per_image"]
Empty = Literal["perfect", "skip", "present"]
Reduction = Literal["mean", "none"]


def check_options(
    average: str,
    num_classes: int | None,
    empty: str = "perfect",
    reduction: str = "mean",
    *,
    class_average: str = "macro",
    classes: Sequence[int] | None = None,
) -> None:
    """Raise ValueError if an option is unknown, there are fewer than two classes, or no class of that number."""
    check_choice("average", average, get_args(Average))
    check_choice("empty", empty, get_args(Empty))
    check_choice("reduction", reduction, get_args(Reduction))
    check_choice("class_average", class_average, get_args(ClassAverage))
    check_num_classes(num_classes)
    check_class_subset(classes, num_classes)


def check_num_classes(num_classes: int | None) -> None:
    """Raise ValueError if there are fewer than two classes."""
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}: use num_classes=None for masks")
