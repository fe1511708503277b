"""What each loss does with an empty mask: the rows of a table of docs/losses.md, computed but for their words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from _loss_curves import TILE
from _loss_forms import Slope, slope, spelled
from _page import Row
from torch import Tensor

from saltzoo.losses import create_loss

ALARM_SIDE = 10  # of a square of false alarm, pixels
HIGH, LOW, RIGHT = 3.0, -5.0, -8.0  # logits of a false alarm, of what is around it, and of a tile that is all right


@dataclass(frozen=True)
class EmptyRow:
    """Losses that do the same with an empty mask, and what that is."""

    names: Sequence[str]
    words: str
    options: Mapping[str, Any] = field(default_factory=dict)


OVERLAPS = ("dice_loss", "jaccard_loss", "tversky_loss")
EMPTY_ROWS: Sequence[EmptyRow] = (
    EmptyRow(("bce_loss", "ce_loss"), "all pixels, each by its probability of salt"),
    EmptyRow(("focal_loss",), "all, but lets go of those that are right"),
    EmptyRow(("bootstrapped_bce", "bootstrapped_ce"), "only those that look most like salt, each more", {"k": 0.0625}),
    EmptyRow(("bce_dice_loss",), "BCE's and the mean probability's"),
    EmptyRow(OVERLAPS, "the mean probability: all pixels; weak on a sure false alarm", {"empty": "mean"}),
    EmptyRow(OVERLAPS, "likewise; stronger where all is wrong", {"empty": "mean", "log": True}),
    EmptyRow(OVERLAPS[:2], "next to nothing until nearly all is right, and then it goes on", {"empty": "smooth"}),
    EmptyRow(OVERLAPS[2:], "likewise", {"empty": "smooth"}),
    EmptyRow(OVERLAPS[:2], "more, still little; small bodies are smoothed too", {"empty": "smooth", "smooth": 100.0}),
    EmptyRow(
        OVERLAPS[:2], "the log of P: reaches all, but pulls on when all is right", {"empty": "smooth", "log": True}
    ),
    EmptyRow(OVERLAPS, "nothing: only beside a loss that does, such as BCE", {"empty": "skip"}),
    EmptyRow(("lovasz_hinge",), "the one highest logit: a pixel a step"),
    EmptyRow(("lovasz_hinge",), "the one highest logit, and never stops", {"margin": "elu"}),
    EmptyRow(("lovasz_hinge",), "the highest logit, and all above -1 by a mean", {"symmetric": True}),
    EmptyRow(("lovasz_hinge",), "the highest logit, and all by a mean", {"margin": "elu", "symmetric": True}),
    EmptyRow(("lovasz_softmax",), "the background's mean error: all pixels, as Dice's mean"),
    EmptyRow(("lovasz_softmax",), "likewise, and salt's largest probability: one pixel", {"classes": "all"}),
)


def predictions() -> tuple[Tensor, Tensor, Tensor]:
    """Logits H W: untrained, with a false alarm, all right."""
    untrained = torch.zeros(TILE, TILE, dtype=torch.float64)
    alarmed = torch.full_like(untrained, LOW)
    start = (TILE - ALARM_SIDE) // 2
    alarmed[start : start + ALARM_SIDE, start : start + ALARM_SIDE] = HIGH
    return untrained, alarmed, torch.full_like(untrained, RIGHT)


def rows(empty_rows: Sequence[EmptyRow] = EMPTY_ROWS) -> Iterator[Row]:
    """Losses and options, a cell for each prediction, and words.

    Raises:
        ValueError: losses of one row differ.
    """
    for row in empty_rows:
        losses = [create_loss(name, **row.options) for name in row.names]
        found = {tuple(_cell(slope(loss, logits, logits * 0)) for logits in predictions()) for loss in losses}
        if len(found) > 1:
            raise ValueError(f"{', '.join(row.names)} with {dict(row.options)} differ on an empty mask: {found}")
        names = ", ".join(f"`{name}`" for name in row.names)
        given = ", ".join(f"{key}={spelled(value)}" for key, value in row.options.items())
        yield f"{names}: `{given}`" if given else names, *found.pop(), row.words


def pull(policy: Literal["mean", "smooth"]) -> float:
    """Gradient of a pixel that Dice gives an untrained net on an empty mask."""
    untrained = predictions()[0]
    return slope(create_loss("dice_loss", empty=policy), untrained, untrained).gradient.abs().max().item()


def _cell(found: Slope) -> str:
    size = found.gradient.abs()
    most, share = size.max().item() * size.numel(), (size > 0).double().mean().item()
    return f"{found.loss:.4g}; {100 * share:.3g} %; {f'{most:,.0f}' if most >= 100 else f'{most:.3g}'}"
