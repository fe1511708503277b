"""A loss on one image: which tasks it takes, what it gives, and what each pixel's gradient is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

TASKS = ("binary", "multilabel", "labels")


class Slope(NamedTuple):
    """A loss, and its gradient by the logits."""

    loss: float
    gradient: Tensor  # H W


def tasks(loss: nn.Module) -> list[str]:
    """Tasks whose shapes the loss takes, found by trying."""
    found = []
    for task in TASKS:
        logits = torch.zeros(1, 1 if task == "binary" else 3, 4, 4)
        target = torch.zeros(1, 4, 4).long() if task == "labels" else torch.zeros_like(logits)
        try:
            loss(logits, target)
        except (TypeError, ValueError):
            continue
        found.append(task)
    return found


def slope(loss: nn.Module, logits: Tensor, mask: Tensor) -> Slope:
    """The loss of one image, (H, W) both, and its gradient by the logits.

    To a loss of labels the logit of salt is given beside a background's of 0, which says the same.
    """
    logits = logits.detach().double().requires_grad_()
    if "binary" in tasks(loss):
        value = loss(logits[None, None], mask[None])
    else:
        value = loss(torch.stack([torch.zeros_like(logits), logits])[None], mask[None].long())
    (gradient,) = torch.autograd.grad(value, logits)
    return Slope(value.item(), gradient)


def options(build: Callable[..., Any], *, without: tuple[str, ...] = ()) -> str:
    """Options of a loss with their defaults, as they are written in a call."""
    return ", ".join(
        p.name if p.default is p.empty else f"{p.name}={spelled(p.default)}"
        for p in inspect.signature(build).parameters.values()
        if p.name not in without
    )


def spelled(value: Any) -> str:
    """A value as it is written in the page's Python."""
    return f'"{value}"' if isinstance(value, str) else repr(value)
