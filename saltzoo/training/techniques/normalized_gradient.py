"""Normalised gradients: the step of a tensor does not depend on the size of its gradient.

Yu, Huang, Lin, Salakhutdinov, Carbonell: "Block-Normalized Gradient Method: An Empirical Study for Training Deep
Neural Network", arXiv 1707.04822. A public solution of the TGS Salt challenge used this.
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
    """Make an optimiser divide the gradient of each tensor by its L2 norm before every step.

    The division is a pre-hook of `step`: groups, state, schedulers and checkpoints work as before. A gradient of zeros
    stays zero. Nothing synchronises with the device.

    The state of the optimiser does not include the hook: call this again in a resumed run. Clipping the norm of the
    whole gradient has no effect. With a `GradScaler`, call `unscale_` before `step`, as for clipping.

    Args:
        optimizer: any torch optimiser. In a step with a closure, the gradients that the closure computes are divided.

    Returns:
        The same optimiser.

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
    """Pre-hook of a step: `args` are the optimiser and, if it was given by position, the closure."""
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
        # Divide by the largest value first, so that squares neither overflow nor underflow.
        for order in (math.inf, 2):
            norms = torch._foreach_norm(gradients, order)
            torch._foreach_clamp_min_(norms, torch.finfo(dtype).tiny)
            torch._foreach_div_(gradients, norms)
