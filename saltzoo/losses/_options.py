"""Options that all losses have, and how a module shows its options."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from .._checks import check_choice, check_finite, check_ignore_index

Reduction = Literal["mean", "sum", "none"]
REDUCTIONS = get_args(Reduction)


def check_common(ignore_index: int | None, reduction: Reduction) -> None:
    """Raise unless `ignore_index` is a whole number or None, and `reduction` is known.

    Raises:
        TypeError: if `ignore_index` is something else.
        ValueError: if `reduction` is unknown.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    check_ignore_index(ignore_index)


def check_smoothing(label_smoothing: float) -> None:
    """Raise TypeError unless `label_smoothing` is a number, and ValueError unless it is 0 to 1."""
    check_finite(label_smoothing=label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be 0 to 1, got {label_smoothing}")


def shown_options(module: nn.Module) -> str:
    """Return the options that a module keeps as attributes, for its `extra_repr`.

    Example:
        >>> loss = nn.Module()
        >>> loss.pos_weight, loss.reduction = 2.0, "sum"
        >>> shown_options(loss)
        "pos_weight=2.0, reduction='sum'"
    """
    options = {name: value for name, value in vars(module).items() if name != "training" and not name.startswith("_")}
    return ", ".join(f"{name}={value!r}" for name, value in options.items())
