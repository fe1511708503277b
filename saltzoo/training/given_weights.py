"""Weights that a recipe names, to start from or to learn from, and whether they know the tiles that validate."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checkpoints.folder import Checkpoint
from ..zoo.sources import load_weights
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


def check_given_weights(recipe: Recipe, validates: Mapping[str, str]) -> GivenWeights:
    """Reads the weights that a recipe names, and refuses those that were trained on tiles that are to validate.

    Args:
        recipe: with `model.grow_from` or a student, or neither.
        validates: what is held out, as the run's own card will say: "data", "fold" ("0 of 5") and "held_out" (the
            fingerprint of those tiles).

    Raises:
        ValueError: if one was trained for another fold of the same data, or on other tiles of that name; or is no
            checkpoint.
        OSError: if one is not there, or can't be reached.
    """
    start = [] if recipe.model.grow_from is None else [("model.grow_from", recipe.model.grow_from)]
    teachers = [] if recipe.student is None else [("a teacher", name) for name in recipe.student.teachers]
    checksums, unchecked = [], []
    for role, name in [*start, *teachers]:
        checkpoint = load_weights(name)
        if not _held_out_the_same(checkpoint, f"{name!r}, {role},", validates):
            unchecked.append(
                f"{name!r}, {role}, does not say in its card which tiles of {validates['data']!r} it has not seen: see "
                f"that those of fold {validates['fold']} are among them, or the score flatters"
            )
        checksums.append(_checksum(checkpoint.tensors))
    return GivenWeights(tuple(checksums[len(start) :]), tuple(unchecked))


def _held_out_the_same(checkpoint: Checkpoint, what: str, validates: Mapping[str, str]) -> bool:
    """Whether a checkpoint's card says that it was trained without the same tiles."""
    metrics = [metric for metric in checkpoint.config.get("metrics") or () if isinstance(metric, Mapping)]
    same_data = [metric for metric in metrics if metric.get("data") == validates["data"]]
    for key, name in (("fold", "fold "), ("held_out", "")):
        others = sorted({str(metric[key]) for metric in same_data if key in metric} - {validates[key]})
        if others:
            raise ValueError(
                f"{what} was trained without {name}{others[0]} of {validates['data']!r}: it has seen tiles "
                f"that are to validate, {name}{validates[key]}, and would flatter the score. Give weights that were "
                f"trained without {name}{validates[key]}, or validate {name}{others[0]}"
            )
    return any("held_out" in metric for metric in same_data)


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """Of names and values, so that weights that were replaced in their folder are noticed."""
    total = 0
    for name, tensor in sorted(tensors.items()):
        values = tensor.contiguous().view(-1).view(torch.uint8).numpy()
        total = zlib.crc32(values.data, zlib.crc32(name.encode(), total))
    return total
