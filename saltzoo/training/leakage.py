"""Leakage: weights that a recipe starts from or learns from must not have seen the tiles that validate.

A teacher that was trained on a validation tile, or on its neighbours, passes that knowledge to its student, and the
student's score rises without merit. So teachers and initial weights of another fold raise an error.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checkpoints.folder import Checkpoint
from ..zoo.sources import load_weights
from .held_out import SYNTHETIC, only_synthetic
from .recipe import Recipe


@dataclass(frozen=True)
class CheckedWeights:
    """Result of the check.

    Attributes:
        teachers: checksum of each teacher's tensors, in the recipe's order.
        warnings: lines about weights whose cards do not say which tiles they have not seen.
    """

    teachers: tuple[int, ...]
    warnings: tuple[str, ...]


def check_leakage(recipe: Recipe, held_out: Mapping[str, str]) -> CheckedWeights:
    """Read the weights that a recipe names, and raise if their cards say that they have seen validation tiles.

    Args:
        recipe: recipe with `model.grow_from`, a student, both or neither.
        held_out: the validation tiles, as the run's own card describes them: "data", "fold" ("0 of 5") and "held_out"
            (the fingerprint of the tiles).

    Raises:
        ValueError: if weights were trained for another fold of the same data, or with other tiles held out; or if they
            are not a checkpoint.
        OSError: if weights are missing or cannot be reached.
    """
    start = [] if recipe.model.grow_from is None else [("model.grow_from", recipe.model.grow_from)]
    teachers = [] if recipe.student is None else [("a teacher", name) for name in recipe.student.teachers]
    checksums, warnings = [], []
    for role, name in [*start, *teachers]:
        checkpoint = load_weights(name)
        same = _held_out_the_same(checkpoint, f"{name!r}, {role},", held_out)
        if not same and not (only_synthetic(checkpoint.config) and SYNTHETIC not in held_out["data"]):
            warnings.append(
                f"{name!r}, {role}, does not say in its card which tiles of {held_out['data']!r} it has not seen: make "
                f"sure that those of fold {held_out['fold']} are among them, or the score will be too high"
            )
        checksums.append(_checksum(checkpoint.tensors))
    return CheckedWeights(tuple(checksums[len(start) :]), tuple(warnings))


def _held_out_the_same(checkpoint: Checkpoint, what: str, held_out: Mapping[str, str]) -> bool:
    """Return whether a card says that the same tiles were held out; raise if it says that others were."""
    metrics = [metric for metric in checkpoint.config.get("metrics") or () if isinstance(metric, Mapping)]
    same_data = [metric for metric in metrics if metric.get("data") == held_out["data"]]
    for key, word in (("fold", "fold "), ("held_out", "")):
        others = sorted({str(metric[key]) for metric in same_data if key in metric} - {held_out[key]})
        if others:
            raise ValueError(
                f"{what} was trained without {word}{others[0]} of {held_out['data']!r}, so it has seen validation "
                f"tiles of this run ({word}{held_out[key]}), and the score would be too high. Give weights that were "
                f"trained without {word}{held_out[key]}, or validate {word}{others[0]}"
            )
    return any("held_out" in metric for metric in same_data)


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """Return a checksum of names and values, by which a resumed run notices that a teacher was replaced."""
    total = 0
    for name, tensor in sorted(tensors.items()):
        values = tensor.contiguous().view(-1).view(torch.uint8).numpy()
        total = zlib.crc32(values.data, zlib.crc32(name.encode(), total))
    return total
