"""Write docs/reference/losses.md and its pictures: `python docs/make_losses.py`; `--check` only checks it.

Numbers are computed from the losses, and options are read from their signatures. Only the pictures need matplotlib.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import _loss_curves as curves
import _loss_empty as empty
from _loss_forms import options, tasks
from _loss_pictures import draw
from _page import Row, cells, fill, table, write_or_check
from torch import nn

import saltzoo.metrics
from saltzoo.losses import create_loss, list_losses

PAGE = Path(__file__).parent / "reference" / "losses.md"
PICTURES = Path(__file__).with_name("pictures")

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
    "precision_score": "PrecisionScore",
    "recall_score": "RecallScore",
    "fbeta_score": "FBetaScore",
    "specificity_score": "SpecificityScore",
    "matthews_score": "MatthewsScore",
    "boundary_distance": "BoundaryDistance",
    "pixel_accuracy": "PixelAccuracy",
    "empty_accuracy": "EmptyAccuracy",
    "confusion_matrix": "ConfusionMatrix",
    "search_threshold": "ThresholdSearch",
}


def page() -> str:
    """Return the whole page."""
    losses = _modules()
    return fill(
        "losses.md",
        {
            "count": len(losses),
            "losses": table(
                ("name", "module", "tasks", "options", "paper"), [_loss_row(*item) for item in losses.items()]
            ),
            "metrics": table(("function", "accumulator", "description"), list(_metric_rows())),
            "radius": f"{curves.RADIUS:g}",
            "side": curves.SIDE,
            "steepness": f"{curves.STEEPNESS:g}",
            "certainty": f"{curves.CERTAINTY:g}",
            "tile": curves.TILE,
            "faintest": f"{curves.FAINTEST:g}",
            "times": f"{empty.pull('mean') / empty.pull('smooth'):,.0f}",
            "pixels": f"{curves.TILE**2:,}",
            "alarm": empty.ALARM_SIDE**2,
            "high": f"{empty.HIGH:g}",
            "low": f"{empty.LOW:g}",
            "right": f"{empty.RIGHT:g}",
            **{f"empty_{key}": cells(empty.cells_of(row)) for key, row in empty.EMPTY_ROWS.items()},
        },
    )


def _modules() -> dict[str, nn.Module]:
    """Return every loss by its name, with the options that it requires."""
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
