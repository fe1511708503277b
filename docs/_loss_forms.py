"""Evaluate a loss on one image: its tasks, its value, its gradient, its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

TASKS = ("binary", "multilabel", "labels")


class Slope(NamedTuple):
    """Value of a loss, and its gradient with respect to the logits."""

    loss: float
    gradient: Tensor  # H W


def tasks(loss: nn.Module) -> list[str]:
    """Return the tasks whose shapes the loss accepts, found by calling it."""
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
    """Return the loss of one image, and its gradient with respect to the logits.

    A loss of labels gets the logit of salt beside a background logit of 0, which is equivalent.

    Args:
        loss: module to evaluate.
        logits: logits H W.
        mask: mask H W.
    """
    logits = logits.detach().double().requires_grad_()
    if "binary" in tasks(loss):
        value = loss(logits[None, None], mask[None])
    else:
        value = loss(torch.stack([torch.zeros_like(logits), logits])[None], mask[None].long())
    (gradient,) = torch.autograd.grad(value, logits)
    return Slope(value.item(), gradient)


def options(build: Callable[..., Any], *, without: tuple[str, ...] = ()) -> str:
    """Return the options of a loss with their defaults, as in a call."""
    return ", ".join(
        p.name if p.default is p.empty else f"{p.name}={spelled(p.default)}"
        for p in inspect.signature(build).parameters.values()
        if p.name not in without
    )


def spelled(value: Any) -> str:
    """Return a value as Python source."""
    return f'"{value}"' if isinstance(value, str) else repr(value)
