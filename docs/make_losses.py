"""Writes docs/losses.md and its pictures: `python docs/make_losses.py`; `--check` only says if the page is stale.

Every number is computed from the losses, and every option read from their signatures. The pictures need matplotlib;
the page, and checking it, does not.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import _loss_choices as choices
import _loss_curves as curves
import _loss_empty as empty
import _loss_words as words
from _loss_forms import options, tasks
from _loss_pictures import draw
from _page import Row, table, write_or_check
from torch import nn

import saltzoo.metrics
from saltzoo.losses import create_loss, list_losses

PAGE = Path(__file__).with_name("losses.md")
PICTURES = PAGE.with_name("pictures")

COMMON = ("ignore_index", "reduction")
TRIALS: Mapping[str, Mapping[str, Any]] = {
    "deep_supervision": {"loss": "bce_loss"},
    "topology_loss": {"features": lambda images: [images]},
    "weighted_sum": {"losses": ["bce_loss"], "weights": [1.0]},
}

ACCUMULATORS = {
    "salt_map": "SaltMAP",
    "iou_score": "IoUScore",
    "dice_score": "DiceScore",
    "pixel_accuracy": "PixelAccuracy",
    "empty_accuracy": "EmptyAccuracy",
    "confusion_matrix": "ConfusionMatrix",
    "search_threshold": "ThresholdSearch",
}


def page() -> str:
    """The whole page."""
    losses = _modules()
    sections = [
        words.INTRODUCTION.format(count=len(losses)),
        table(("situation", "loss", "why"), choices.CHOICES),
        choices.GAINS,
        words.RULES + words.TOGETHER,
        words.TABLE,
        table(("name", "module", "tasks", "options", "paper"), [_loss_row(*item) for item in losses.items()]),
        words.PIXEL,
        words.IMAGE.format(
            radius=curves.RADIUS, side=curves.SIDE, steepness=curves.STEEPNESS, certainty=curves.CERTAINTY
        ),
        words.EMPTY.format(
            tile=curves.TILE,
            faintest=curves.FAINTEST,
            times=empty.pull("mean") / empty.pull("smooth"),
            pixels=curves.TILE**2,
            alarm=empty.ALARM_SIDE**2,
            high=empty.HIGH,
            low=empty.LOW,
            right=empty.RIGHT,
        ),
        table(("loss", "untrained", "false alarm", "all right", "what gets a gradient"), list(empty.rows())),
        words.AFTER_ROWS,
        words.METRICS,
        table(("function", "accumulator", "what it is"), list(_metric_rows())),
    ]
    return "\n".join(sections)


def _modules() -> dict[str, nn.Module]:
    """Every loss by its name, with options where it can't do without."""
    return {name: create_loss(name, **TRIALS.get(name, {})) for name in list_losses()}


def _loss_row(name: str, loss: nn.Module) -> Row:
    parameters = inspect.signature(type(loss)).parameters
    links = re.findall(
        r"https://(arxiv|doi)\.org/(?:abs/)?([\w./-]*\w)", sys.modules[type(loss).__module__].__doc__ or ""
    )
    return (
        f"`{name}`",
        f"`{type(loss).__name__}`",
        "as its losses" if "loss" in parameters or "losses" in parameters else ", ".join(tasks(loss)),
        f"`{text}`" if (text := options(type(loss), without=COMMON if set(COMMON) <= set(parameters) else ())) else "",
        ", ".join(_link(*link) for link in links),
    )


def _link(site: str, number: str) -> str:
    if site == "arxiv":
        return f"[{number}](https://arxiv.org/abs/{number})"
    return f"[doi](https://doi.org/{number})"


def _metric_rows() -> Iterator[Row]:
    for name, accumulator in ACCUMULATORS.items():
        first = (inspect.getdoc(getattr(saltzoo.metrics, name)) or "").partition("\n")[0]
        yield f"`{name}`", f"`{getattr(saltzoo.metrics, accumulator).__name__}`", first.rstrip(".")


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page}, __doc__, lambda: draw(curves.pictures(), PICTURES)))
