"""Compute what each loss does with an empty mask: numbers of a table of docs/reference/losses.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from _loss_curves import TILE
from _loss_forms import Slope, slope, spelled
from _page import Row
from torch import Tensor

from saltzoo.losses import create_loss

ALARM_SIDE = 10  # side of a square false alarm, in pixels
HIGH, LOW, RIGHT = 3.0, -5.0, -8.0  # logits of a false alarm, of the pixels around it, and of an all-right tile


@dataclass(frozen=True)
class EmptyRow:
    """Losses that treat an empty mask in the same way.

    Attributes:
        names: names of the losses.
        options: options that they have in common.
    """

    names: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)


OVERLAPS = ("dice_loss", "jaccard_loss", "tversky_loss")
EMPTY_ROWS: Mapping[str, EmptyRow] = {
    "pixelwise": EmptyRow(("bce_loss", "ce_loss")),
    "focal": EmptyRow(("focal_loss",)),
    "bootstrapped": EmptyRow(("bootstrapped_bce", "bootstrapped_ce"), {"k": 0.0625}),
    "bce_dice": EmptyRow(("bce_dice_loss",)),
    "mean": EmptyRow(OVERLAPS, {"empty": "mean"}),
    "mean_log": EmptyRow(OVERLAPS, {"empty": "mean", "log": True}),
    "smooth": EmptyRow(OVERLAPS[:2], {"empty": "smooth"}),
    "smooth_tversky": EmptyRow(OVERLAPS[2:], {"empty": "smooth"}),
    "smooth_100": EmptyRow(OVERLAPS[:2], {"empty": "smooth", "smooth": 100.0}),
    "smooth_log": EmptyRow(OVERLAPS[:2], {"empty": "smooth", "log": True}),
    "skip": EmptyRow(OVERLAPS, {"empty": "skip"}),
    "generalized": EmptyRow(("generalized_dice_loss",)),
    "hinge": EmptyRow(("lovasz_hinge",)),
    "hinge_elu": EmptyRow(("lovasz_hinge",), {"margin": "elu"}),
    "hinge_symmetric": EmptyRow(("lovasz_hinge",), {"symmetric": True}),
    "hinge_elu_symmetric": EmptyRow(("lovasz_hinge",), {"margin": "elu", "symmetric": True}),
    "softmax": EmptyRow(("lovasz_softmax",)),
    "softmax_all": EmptyRow(("lovasz_softmax",), {"classes": "all"}),
}
"""Key of a row in docs/templates/losses.md, where its last column is written -> losses and options."""


def predictions() -> tuple[Tensor, Tensor, Tensor]:
    """Return logits H W: untrained, with a false alarm, all right."""
    untrained = torch.zeros(TILE, TILE, dtype=torch.float64)
    alarmed = torch.full_like(untrained, LOW)
    start = (TILE - ALARM_SIDE) // 2
    alarmed[start : start + ALARM_SIDE, start : start + ALARM_SIDE] = HIGH
    return untrained, alarmed, torch.full_like(untrained, RIGHT)


def cells_of(row: EmptyRow) -> Row:
    """Return losses and options, and a cell for each prediction.

    Raises:
        ValueError: if the losses of the row differ.
    """
    losses = [create_loss(name, **row.options) for name in row.names]
    found = {tuple(_cell(slope(loss, logits, logits * 0)) for logits in predictions()) for loss in losses}
    if len(found) > 1:
        raise ValueError(f"{', '.join(row.names)} with {dict(row.options)} differ on an empty mask: {found}")
    names = ", ".join(f"`{name}`" for name in row.names)
    given = ", ".join(f"{key}={spelled(value)}" for key, value in row.options.items())
    return f"{names}: `{given}`" if given else names, *found.pop()


def pull(policy: Literal["mean", "smooth"]) -> float:
    """Return the gradient of the Dice loss for a pixel of an empty mask, in an untrained network."""
    untrained = predictions()[0]
    return slope(create_loss("dice_loss", empty=policy), untrained, untrained).gradient.abs().max().item()


def _cell(found: Slope) -> str:
    size = found.gradient.abs()
    most, share = size.max().item() * size.numel(), (size > 0).double().mean().item()
    return f"{found.loss:.4g}; {100 * share:.3g} %; {f'{most:,.0f}' if most >= 100 else f'{most:.3g}'}"
