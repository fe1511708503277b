"""Compute the curves of docs/reference/losses.md: losses and gradients along a line of predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from _loss_forms import slope
from torch import Tensor

from saltzoo.losses import create_loss

SIDE, RADIUS = 32, 10.0  # side of the image and radius of its disc of salt, in pixels
TILE = 101
STEEPNESS, CERTAINTY = 2.0, 3.0  # slope of the edge of a predicted disc (logit per pixel), and its largest logit
FAINTEST = 1e-6

Points = tuple[tuple[float, float], ...]
Losses = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Panel:
    """One pair of axes, with the points of each loss by its label."""

    title: str
    across: str
    up: str
    curves: Mapping[str, Points]
    log: bool = False
    mark: float | None = None


@dataclass(frozen=True)
class Picture:
    """Two panels side by side, drawn as `name`.svg."""

    name: str
    panels: tuple[Panel, Panel]


PIXEL: Losses = {
    "BCE": {"name": "bce_loss"},
    "focal, gamma 1": {"name": "focal_loss", "gamma": 1.0},
    "focal, gamma 2": {"name": "focal_loss", "gamma": 2.0},
    "focal, gamma 5": {"name": "focal_loss", "gamma": 5.0},
    "Lovász hinge, relu": {"name": "lovasz_hinge"},
    "Lovász hinge, elu": {"name": "lovasz_hinge", "margin": "elu"},
}
IMAGE: Losses = {
    "BCE": {"name": "bce_loss"},
    "Dice": {"name": "dice_loss"},
    "Jaccard": {"name": "jaccard_loss"},
    "Tversky .3, .7": {"name": "tversky_loss", "alpha": 0.3, "beta": 0.7},
    "Lovász hinge, relu": {"name": "lovasz_hinge"},
    "Lovász hinge, elu, symmetric": {"name": "lovasz_hinge", "margin": "elu", "symmetric": True},
}
EMPTY: Losses = {
    "BCE": {"name": "bce_loss"},
    "focal, gamma 2": {"name": "focal_loss"},
    "Dice, mean": {"name": "dice_loss"},
    "Dice, smooth": {"name": "dice_loss", "empty": "smooth"},
    "Dice, skip": {"name": "dice_loss", "empty": "skip"},
    "Lovász hinge, relu": {"name": "lovasz_hinge"},
    "Lovász hinge, elu, symmetric": {"name": "lovasz_hinge", "margin": "elu", "symmetric": True},
}


def pictures() -> Sequence[Picture]:
    """Return all pictures of the page."""
    return _pixel(), _certainty(), _size(), _empty()


def disc() -> Tensor:
    """Return the mask H W of the disc."""
    return (_from_centre() <= RADIUS).double()


def predicted_disc(radius: float) -> Tensor:
    """Return the logits H W of a disc of this radius."""
    return (STEEPNESS * (radius - _from_centre())).clamp(-CERTAINTY, CERTAINTY)


def _from_centre() -> Tensor:
    line = torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2
    return torch.hypot(line[:, None], line)


def _pixel() -> Picture:
    mask = torch.ones(1, 1, dtype=torch.float64)
    across = "logit of a pixel of salt"
    losses, pulls = _curves(PIXEL, _range(-6, 6, 72), lambda x: x * mask, mask, _sum)
    return Picture(
        "pixel",
        (Panel("Loss of one pixel", across, "loss", losses), Panel("Its slope", across, "|gradient|", pulls)),
    )


def _certainty() -> Picture:
    mask = disc()
    across = "logit of each pixel towards the truth"
    losses, pulls = _curves(IMAGE, _range(-4, 6, 80), lambda x: x * (2 * mask - 1), mask, _sum)
    return Picture(
        "certainty",
        (
            Panel("Loss of an image, all pixels wrong to all right", across, "loss", losses),
            Panel("Gradient", across, "sum of |gradient| over pixels", pulls),
        ),
    )


def _size() -> Picture:
    mask = disc()
    across = "radius of the predicted disc, pixels"
    losses, pulls = _curves(IMAGE, _range(0, 15, 75), predicted_disc, mask, _sum)
    return Picture(
        "size",
        (
            Panel("Loss of a disc too small, right, too large", across, "loss", losses, mark=RADIUS),
            Panel("Gradient", across, "sum of |gradient| over pixels", pulls, mark=RADIUS),
        ),
    )


def _empty() -> Picture:
    mask = torch.zeros(TILE, TILE, dtype=torch.float64)
    across = "logit of all pixels of an empty tile"
    losses, pulls = _curves(EMPTY, _range(-8, 4, 48), lambda x: torch.full_like(mask, x), mask, _median)
    return Picture(
        "empty",
        (
            Panel("Loss of an empty tile", across, "loss", losses),
            Panel("Gradient of a typical pixel", across, "median |gradient|, times pixels", _visible(pulls), log=True),
        ),
    )


def _curves(
    losses: Losses,
    along: Sequence[float],
    logits: Callable[[float], Tensor],
    mask: Tensor,
    size: Callable[[Tensor], float],
) -> tuple[dict[str, Points], dict[str, Points]]:
    """Return the points of each loss, and of the size of its gradient."""
    values, pulls = {}, {}
    for label, config in losses.items():
        loss = create_loss(config)
        slopes = [slope(loss, logits(x), mask) for x in along]
        values[label] = tuple((x, found.loss) for x, found in zip(along, slopes, strict=True))
        pulls[label] = tuple((x, size(found.gradient)) for x, found in zip(along, slopes, strict=True))
    return values, pulls


def _visible(curves: Mapping[str, Points]) -> dict[str, Points]:
    """Return the points that fit on a logarithmic axis which ends at FAINTEST."""
    return {label: tuple(point for point in points if point[1] >= FAINTEST) for label, points in curves.items()}


def _sum(gradient: Tensor) -> float:
    return gradient.abs().sum().item()


def _median(gradient: Tensor) -> float:
    return gradient.abs().median().item() * gradient.numel()


def _range(first: float, last: float, steps: int) -> list[float]:
    return [first + (last - first) * i / steps for i in range(steps + 1)]
