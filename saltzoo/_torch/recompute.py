"""Run a part of a network without keeping its activations for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop


def recomputed(module: nn.Module, *inputs: Any) -> Any:
    """Return a module's output, whose activations the backward pass computes again.

    Dropout draws the same values again. Batch norms update their statistics the first time only, so that they are
    those of a plain step, which `torch.utils.checkpoint` alone does not ensure.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm1d(2)
        >>> recomputed(norm, torch.randn(4, 2)).sum().backward()
        >>> norm.num_batches_tracked
        tensor(1)
    """
    with set_checkpoint_early_stop(False):  # it stops by an exception, which an encoder would try to explain
        return checkpoint(module, *inputs, use_reentrant=False, context_fn=partial(_contexts, module))


def _contexts(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the first and of the second computation."""
    return nullcontext(), _without_statistics(module)


@contextmanager
def _without_statistics(module: nn.Module) -> Iterator[None]:
    norms = [
        part for part in module.modules() if isinstance(part, _BatchNorm) and part.training and part.track_running_stats
    ]
    settings = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, count) in zip(norms, settings, strict=True):
        # The averages keep their values, and a copy is counted: without a counter, SyncBatchNorm stops.
        norm.momentum, norm.num_batches_tracked = 0.0, None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, settings, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
