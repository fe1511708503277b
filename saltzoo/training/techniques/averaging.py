"""Averages of a model's weights over its training, and batch norm for what they are.

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

from ..._torch import modes_restored
from .freezing import learning_batch_norms


class WeightAverage(AveragedModel):
    """torch's AveragedModel, whose `update_parameters` never waits for the device.

    torch's own sends its count to the device at each update and waits for it, and averages counters of batches. Here
    the count stays on the CPU, and whatever is no floating-point number is copied. Statistics of batch norm are
    averaged like weights.

    Args:
        model: what is averaged; a copy of it, `module`, holds the average.
        share: how many updates there were -> the share of the model in the average after this one.

    Attributes:
        module: a model like the one given, with its preprocess and config: `saltzoo.predict` and
            `saltzoo.save_pretrained` take it.
    """

    def __init__(self, model: nn.Module, share: Callable[[int], float]) -> None:
        super().__init__(model, use_buffers=True)
        self._share = share

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Moves the average towards the model; it may be wrapped in DistributedDataParallel.

        The share of the model is a number, which a captured CUDA graph would keep for ever: call this outside of it.

        Raises:
            ValueError: if it is another network.
        """
        held, new = [*_tensors(self.module)], [*_tensors(model)]
        if [one.shape for one in held] != [one.shape for one in new]:
            raise ValueError(f"this average is of another network than the {type(model).__name__} it was given")
        self.n_averaged = self.n_averaged.cpu()  # where it is, if nobody moved it
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
    """Exponential moving average (EMA) of a model, updated after every step; short-sighted while it is young.

    After t updates the next keeps min(decay, (1 + t) / (10 + t)) of the average: the weights of the first steps are
    soon forgotten. The count is in the state dict, so a resumed average goes on as it would have.

    Args:
        model: the plain model, not one wrapped for several processes.
        decay: what an update keeps of the average in the long run, 0 to below 1.

    Raises:
        ValueError: if it is no such number.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> average = exponential_average(model)
        >>> _ = model.weight.data.add_(1.0)
        >>> average.update_parameters(model)
        >>> round((model.weight - average.module.weight).item(), 4)
        0.1
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay is what an update keeps of the average, 0 to below 1 (such as 0.998), got {decay}")
    return WeightAverage(model, partial(_exponential_share, decay))


def stochastic_average(model: nn.Module) -> WeightAverage:
    """Stochastic weight average (SWA): the mean of a model's states, updated once an epoch late in training.

    The first update copies the model. The statistics of batch norm are to be made anew at the end, as the mean of
    weights meets other activations than those that were averaged: `reestimate_batch_norm`.

    Args:
        model: the plain model, not one wrapped for several processes.

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
    """Makes the statistics of all batch norms anew, by torch's `update_bn`, from one pass over batches.

    The mean becomes the mean over the batches, and so does the variance within a batch: take batches of one size, as
    large as in training, of unaugmented tiles. Only batch norms are in training mode meanwhile (dropout is off, as it
    is in evaluation), and afterwards all modules are in the mode that they were in. Norms under
    `keep_batch_norm_frozen` keep what they have. Without batch norm nothing is done.

    Several processes are to give the same batches, or to broadcast the buffers from one of them afterwards.

    Args:
        model: any model, on any device; call this under autocast if the model is to run under it.
        batches: of what the model takes, prepared by `model.preprocess`; of a list or tuple the first is taken.

    Raises:
        ValueError: if a norm saw no batch of more than one value a channel; all norms are then as they were.

    Example:
        >>> norm = nn.BatchNorm2d(1)
        >>> reestimate_batch_norm(norm, [torch.tensor([1.0, 2.0, 3.0, 4.0]).view(2, 1, 2, 1)])
        >>> norm.running_mean.item(), round(norm.running_var.item(), 4)
        (2.5, 1.6667)
    """
    norms = learning_batch_norms(model)
    momenta = {norm: norm.momentum for norm in norms}
    before = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    try:
        with modes_restored(model):
            model.eval()
            update_bn(batches, _NormsOf(model, norms))
        idle = sum(not norm.num_batches_tracked for norm in norms)
        if idle:
            raise ValueError(
                f"{idle} of {len(norms)} batch norms saw no batch of more than one value a channel: give at least "
                f"one batch, of two images or more"
            )
    except BaseException:
        for buffer, old in before:
            buffer.copy_(old)
        raise
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum


class _NormsOf(nn.Module):
    """A model that torch's `update_bn` sees nothing of but some batch norms."""

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
