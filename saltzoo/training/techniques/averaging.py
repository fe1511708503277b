"""Averages of a model's weights over its training, and batch-norm statistics for averaged weights.

Polyak, Juditsky: "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control Optim. 30 (1992); Izmailov,
Podoprikhin, Garipov, Vetrov, Wilson: "Averaging Weights Leads to Wider Optima and Better Generalization", arXiv
1803.05407.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, update_bn

from ..._checks import check_fraction
from ..._torch import evaluation_view
from .freezing import learning_batch_norms


class WeightAverage(AveragedModel):
    """AveragedModel of torch, with an `update_parameters` that does not synchronise with the device.

    The class of torch reads its count of updates from the device at each update, and averages integer buffers. Here
    the count stays on the CPU, and tensors that are not floating point are copied. Batch-norm statistics are averaged
    like weights.

    Args:
        model: model to average. A copy of it, `module`, holds the average.
        share: function that takes the number of earlier updates and returns the model's weight in the new average.

    Attributes:
        module: model that holds the average, with the `preprocess` and `config` of the original: `saltzoo.predict`
            and `saltzoo.save_pretrained` take it.
    """

    def __init__(self, model: nn.Module, share: Callable[[int], float]) -> None:
        super().__init__(model, use_buffers=True)
        self._share = share

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the model, which may be wrapped in DistributedDataParallel.

        Do not call this in a captured CUDA graph: the graph would repeat the model's weight of the capture.

        Raises:
            ValueError: if the model's tensors have other shapes than the average.
        """
        held, new = [*_tensors(self.module)], [*_tensors(model)]
        if [one.shape for one in held] != [one.shape for one in new]:
            raise ValueError(
                f"model must have the same tensors as the averaged {type(self.module).__name__}, got a "
                f"{type(model).__name__} with others: build both with the same options"
            )
        self.n_averaged: Tensor = self.n_averaged.cpu()  # in case the whole average was moved to a device
        share = self._share(int(self.n_averaged))
        pairs = [(old, now.to(old.device)) for old, now in zip(held, new, strict=True)]
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        copied = [pair for pair in pairs if not pair[0].is_floating_point()]
        if averaged:
            torch._foreach_lerp_([old for old, _ in averaged], [now for _, now in averaged], share)
        if copied:
            torch._foreach_copy_([old for old, _ in copied], [now for _, now in copied])
        self.n_averaged += 1


def exponential_average(model: nn.Module, *, decay: float = 0.998) -> WeightAverage:
    """Return an exponential moving average (EMA) of a model, to be updated after every training step.

    After t updates, the next one keeps the fraction min(decay, (1 + t) / (10 + t)) of the average, so the weights of
    the first steps fade quickly. The state dict holds the count of updates: a resumed average continues exactly.

    Args:
        model: model that is not wrapped for several processes.
        decay: fraction of the average that an update keeps in the long run, 0 to below 1.

    Raises:
        ValueError: unless 0 <= decay < 1.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> average = exponential_average(model)
        >>> _ = model.weight.data.add_(1.0)
        >>> average.update_parameters(model)
        >>> round((model.weight - average.module.weight).item(), 4)
        0.1
    """
    check_fraction(decay=decay)
    return WeightAverage(model, partial(_exponential_share, decay))


def stochastic_average(model: nn.Module) -> WeightAverage:
    """Return a stochastic weight average (SWA): the mean of a model's states, to be updated after each late epoch.

    The first update copies the model. Call `reestimate_batch_norm` at the end: averaged weights produce other
    activations than those that the averaged statistics describe.

    Args:
        model: model that is not wrapped for several processes.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> average = stochastic_average(model)
        >>> for value in (1.0, 2.0, 6.0):
        ...     _ = model.weight.data.fill_(value)
        ...     average.update_parameters(model)
        >>> round(average.module.weight.item(), 4)
        3.0
    """
    return WeightAverage(model, _equal_share)


def reestimate_batch_norm(model: nn.Module, batches: Iterable[Any]) -> None:
    """Compute the statistics of all batch norms again, in one pass over batches, by `update_bn` of torch.

    The new running mean and variance are the averages of the means and variances of the batches: use batches of equal
    size, as large as in training, without augmentation. During the pass only batch norms are in training mode, so
    dropout is off. The pass runs on a view of the model, which keeps its modes and gets the statistics at the end.
    Norms under `keep_batch_norm_frozen` keep theirs. A model without batch norm is left alone, and no batch is read.

    Several processes must pass the same batches, or broadcast the buffers of one process afterwards.

    Args:
        model: any model, on any device. Call this under autocast if the model will run under autocast.
        batches: inputs of the model, after `model.preprocess`. If a batch is a list or tuple, its first item is used.

    Raises:
        ValueError: if a norm got no batch with more than one value per channel. All norms are then unchanged.

    Example:
        >>> norm = nn.BatchNorm2d(1)
        >>> reestimate_batch_norm(norm, [torch.tensor([1.0, 2.0, 3.0, 4.0]).view(2, 1, 2, 1)])
        >>> norm.running_mean.item(), round(norm.running_var.item(), 4)
        (2.5, 1.6667)
    """
    # Norms of the view get statistics of their own, so that others can use the model until it gets the result.
    view = evaluation_view(model)
    norms = learning_batch_norms(view)
    for norm in norms:
        vars(norm)["_buffers"] = {name: value.clone() for name, value in norm.named_buffers(recurse=False)}
    update_bn(batches, _NormsOf(view, norms))
    missed = sum(not norm.num_batches_tracked for norm in norms)
    if missed:
        raise ValueError(
            f"batches must hold more than one value per channel for every batch norm, but {missed} of {len(norms)} "
            f"norms got none: give at least one batch of two images or more"
        )
    with torch.no_grad():
        for norm, new in zip(learning_batch_norms(model), norms, strict=True):
            for old, value in zip(norm.buffers(recurse=False), new.buffers(recurse=False), strict=True):
                old.copy_(value)


class _NormsOf(nn.Module):
    """View of a model that shows only some of its batch norms to `update_bn`."""

    def __init__(self, model: nn.Module, norms: list[_BatchNorm]) -> None:
        super().__init__()
        self.model = model
        self.norms = norms

    def modules(self, remove_duplicate: bool = True) -> Any:
        return iter(self.norms)

    def train(self, mode: bool = True) -> _NormsOf:
        for norm in self.norms:
            norm.training = mode
        return self

    def forward(self, x: Any) -> Any:
        return self.model(x)


def _tensors(model: nn.Module) -> Iterable[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _exponential_share(decay: float, updates: int) -> float:
    return 1 - min(decay, (1 + updates) / (10 + updates))


def _equal_share(updates: int) -> float:
    return 1 / (updates + 1)
