"""How the logits of several networks become one map of logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Mode = Literal["mean", "logit_mean", "vote"]

_UNANIMOUS = 1e-6
"""Distance from 0 and 1 of the share of votes that a class can have, so that its logit is finite."""


def mean_of_probabilities(logits: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the logits whose probabilities are the weighted mean of the members' probabilities.

    Sums are taken of exponentials of logarithms, so that probabilities that round to 0 or 1 keep their logits.

    Args:
        logits: N K H W of each member; a sigmoid gives the probability of one class, a softmax those of several.
        weights: positive weight of each member, of any sum.

    Example:
        >>> mean_of_probabilities([torch.full((1, 1, 1, 1), x) for x in (200.0, -200.0)], [1, 1]).item()
        0.0
        >>> mean_of_probabilities([torch.full((1, 1, 1, 1), x) for x in (200.0, 200.0)], [1, 1]).item()
        200.0
    """
    total = sum(weights)
    shares = [math.log(weight / total) for weight in weights]
    if logits[0].shape[1] > 1:
        return _log_mean([F.log_softmax(one, 1) for one in logits], shares)
    return _log_mean([F.logsigmoid(one) for one in logits], shares) - _log_mean(
        [F.logsigmoid(-one) for one in logits], shares
    )


def mean_of_logits(logits: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted mean of logits N K H W: the normalised geometric mean of the probabilities."""
    total = sum(weights)
    return torch.stack([one * (weight / total) for one, weight in zip(logits, weights, strict=True)]).sum(0)


def vote(logits: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return logits N K H W whose probabilities are the shares of the votes that each class has.

    A member votes for salt where its probability is above one half, or for the most probable of several classes. In a
    tie, salt has a probability of exactly one half, so it is not above it. Shares are kept 1e-6 away from 0 and 1.
    No gradient flows through votes.

    Example:
        >>> logits = [torch.full((1, 1, 1, 1), x) for x in (9.0, 0.1, -0.1, -0.1)]
        >>> vote(logits, [1, 1, 1, 1]).sigmoid().item(), vote(logits, [2, 2, 1, 3]).sigmoid().item()
        (0.5, 0.5)
    """
    classes = logits[0].shape[1]
    votes = [
        weight * (one > 0 if classes == 1 else _one_hot(one)).to(one.dtype)
        for one, weight in zip(logits, weights, strict=True)
    ]
    # The sum is divided, not each weight, so that equal weights give exactly one half in a tie.
    share = (torch.stack(votes).sum(0) / sum(weights)).clamp(_UNANIMOUS, 1 - _UNANIMOUS)
    return share.logit() if classes == 1 else share.log()


def _log_mean(logarithms: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    return torch.stack([one + share for one, share in zip(logarithms, shares, strict=True)]).logsumexp(0)


def _one_hot(logits: Tensor) -> Tensor:
    """N K H W -> True for the first of the largest logits of a pixel."""
    classes = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    return logits.argmax(1, keepdim=True) == classes


COMBINE: dict[Mode, Callable[[Sequence[Tensor], Sequence[float]], Tensor]] = {
    "mean": mean_of_probabilities,
    "logit_mean": mean_of_logits,
    "vote": vote,
}
"""Function of each mode of an ensemble."""
