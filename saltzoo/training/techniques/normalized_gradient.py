"""Normalised gradients: every tensor takes a step of the same length, however steep its loss is.

Yu, Huang, Lin, Salakhutdinov, Carbonell: "Block-Normalized Gradient Method: An Empirical Study for Training Deep
Neural Network", arXiv 1707.04822. One of the public solutions of the TGS Salt challenge trained by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

AnyOptimizer = TypeVar("AnyOptimizer", bound=torch.optim.Optimizer)


def normalized_gradient(optimizer: AnyOptimizer) -> AnyOptimizer:
    """Makes an optimiser divide each tensor's gradient by its L2 norm before every step.

    It is a hook of the optimiser's own step: groups, state, schedulers and checkpoints are as before, and the same
    optimiser is returned. A gradient of zeros stays zero. Nothing waits for the device.

    The hook is no part of the optimiser's state: a run that is resumed calls this again. A limit on the norm of the
    whole gradient has no effect any more. Of a `GradScaler` call `unscale_` first, as for that limit.

    Args:
        optimizer: any of torch's; a step with a closure divides what the closure left.

    Returns:
        The optimiser.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = normalized_gradient(torch.optim.SGD([weight], lr=1.0))
        >>> (weight * torch.tensor([30.0, 40.0])).sum().backward()
        >>> optimizer.step()
        >>> weight.data
        tensor([-0.6000, -0.8000])
    """
    optimizer.register_step_pre_hook(_before_step)
    return optimizer


def _before_step(
    optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """A hook of torch: `args` are the optimiser and, maybe, the closure."""
    closure = args[1] if len(args) > 1 else kwargs.get("closure")
    if closure is None:
        _normalize(optimizer)
        return None
    return args[:1], {**kwargs, "closure": partial(_close, optimizer, closure)}


def _close(optimizer: torch.optim.Optimizer, closure: Callable[[], Any]) -> Any:
    loss = closure()
    _normalize(optimizer)
    return loss


@torch.no_grad()
def _normalize(optimizer: torch.optim.Optimizer) -> None:
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for dtype, gradients in by_dtype.items():
        # By the largest value first: the squares of what is left neither overflow nor vanish.
        for order in (math.inf, 2):
            norms = torch._foreach_norm(gradients, order)
            torch._foreach_clamp_min_(norms, torch.finfo(dtype).tiny)
            torch._foreach_div_(gradients, norms)
