"""Weights that a recipe names, to start from or to learn from, and whether they know the tiles that validate."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checkpoint import Checkpoint
from ..registry import find_weights
from ..sources import SCHEMES, load_published, load_source
from .recipe import Recipe


@dataclass(frozen=True)
class GivenWeights:
    """What is known of them before a run.

    Attributes:
        teachers: a checksum of each teacher's tensors, in the recipe's order.
        unchecked: lines about those whose cards do not tell what they have seen.
    """

    teachers: tuple[int, ...]
    unchecked: tuple[str, ...]


def check_given_weights(recipe: Recipe, *, data: str, validates: str) -> GivenWeights:
    """Reads the weights that a recipe names, and refuses those that were trained on tiles that are to validate.

    Args:
        recipe: with `model.grow_from` or a student, or neither.
        data: what the run's tiles are, as its own card will say.
        validates: which fold is held out, as its own card will say: "0 of 5".

    Raises:
        ValueError: if one was trained for another fold of the same data, or is no checkpoint.
        OSError: if one is not there, or can't be reached.
    """
    start = [] if recipe.model.grow_from is None else [("model.grow_from", recipe.model.grow_from)]
    teachers = [] if recipe.student is None else [("a teacher", name) for name in recipe.student.teachers]
    checksums, unchecked = [], []
    for role, name in [*start, *teachers]:
        checkpoint = load_source(name) if name.startswith(SCHEMES) else load_published(find_weights(name))
        if not _is_of_fold(checkpoint, f"{name!r}, {role},", data, validates):
            unchecked.append(
                f"{name!r}, {role}, does not say in its card which fold of {data!r} it was trained for: see that it "
                f"has not seen the tiles of fold {validates}, or the score flatters"
            )
        checksums.append(_checksum(checkpoint.tensors))
    return GivenWeights(tuple(checksums[len(start) :]), tuple(unchecked))


def _is_of_fold(checkpoint: Checkpoint, what: str, data: str, validates: str) -> bool:
    """Whether a checkpoint's card says that it was trained for the same fold."""
    metrics = [metric for metric in checkpoint.config.get("metrics") or () if isinstance(metric, Mapping)]
    folds = {str(metric["fold"]) for metric in metrics if metric.get("data") == data and "fold" in metric}
    others = sorted(folds - {validates})
    if others:
        raise ValueError(
            f"{what} was trained for fold {others[0]} of {data!r}: it has seen tiles of fold {validates}, which is to "
            f"validate, and would flatter the score. Give weights that were trained for fold {validates}, or "
            f"validate fold {others[0]}"
        )
    return bool(folds)


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """Of names and values, so that weights that were replaced in their folder are noticed."""
    total = 0
    for name, tensor in sorted(tensors.items()):
        values = tensor.contiguous().view(-1).view(torch.uint8).numpy()
        total = zlib.crc32(values.data, zlib.crc32(name.encode(), total))
    return total
