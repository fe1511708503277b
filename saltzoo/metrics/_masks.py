"""Checks of masks, and their conversion to one form, shared by all metrics."""

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._torch import valid_pixels

Mask = Tensor | npt.NDArray[Any]
Form = Literal["binary", "channels", "labels"]

_AXES = {
    "binary": "(N, H, W) or (N, 1, H, W)",
    "channels": "(N, H, W), (N, 1, H, W) or (N, C, H, W)",
    "labels": "labels (N, H, W)",
}


class Masks(NamedTuple):
    """Masks of the same N images on one device, with K classes (1 for binary masks and labels) and P pixels.

    Attributes:
        pred: prediction, (N, K, P), bool or integer.
        target: truth in the same form.
        valid: pixels that count, bool (N, K, P); None if all do.
    """

    pred: Tensor
    target: Tensor
    valid: Tensor | None


def read_masks(pred_masks: Mask, target_masks: Mask, *, form: Form, ignore_index: int | None) -> Masks:
    """Return masks in the form in which they are counted, without a copy where possible.

    Raises:
        TypeError: if they are not arrays or tensors of bool or integers.
        ValueError: if shapes, devices or `ignore_index` do not fit.
    """
    pred, target = _as_tensor("pred_masks", pred_masks), _as_tensor("target_masks", target_masks)
    _check_discrete("pred_masks", pred)
    return _checked("pred_masks", pred, target, form, ignore_index)


def read_probabilities(probabilities: Mask, target_masks: Mask, *, ignore_index: int | None) -> Masks:
    """Return probabilities in the place of the prediction, and binary masks of the truth.

    Raises:
        TypeError: if they are not arrays or tensors, the probabilities are not floating point, or the truth is.
        ValueError: if shapes, devices or `ignore_index` do not fit.
    """
    p, target = _as_tensor("probabilities", probabilities), _as_tensor("target_masks", target_masks)
    if not p.is_floating_point():
        raise TypeError(
            f"probabilities must be floating point numbers in 0..1, got {p.dtype}: give them before any threshold"
        )
    return _checked("probabilities", p.detach(), target, "binary", ignore_index)


def _as_tensor(name: str, given: Mask) -> Tensor:
    """Return a tensor unchanged, and an array as a tensor that shares its memory where possible."""
    if isinstance(given, Tensor):
        return given
    if not isinstance(given, np.ndarray):
        raise TypeError(f"{name} must be a torch tensor or a numpy array (N, H, W), got a {type(given).__name__}")
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of bool, integers or floating point numbers, got {given.dtype}")
    # torch warns of read-only arrays and refuses other byte orders and negative strides.
    if not (given.flags.writeable and given.dtype.isnative and min(given.strides, default=0) >= 0):
        given = np.array(given, dtype=given.dtype.newbyteorder("="), order="C")
    return torch.from_numpy(given)


def _checked(name: str, pred: Tensor, target: Tensor, form: Form, ignore_index: int | None) -> Masks:
    _check_discrete("target_masks", target)
    _check_shape(name, pred, form)
    _check_shape("target_masks", target, form)
    _check_same(name, pred, target)
    valid = valid_pixels(target, ignore_index)
    return Masks(_by_pixel(pred), _by_pixel(target), None if valid is None else _by_pixel(valid))


def _check_discrete(name: str, mask: Tensor) -> None:
    if mask.is_floating_point() or mask.is_complex():
        dtype = str(mask.dtype).removeprefix("torch.")
        raise TypeError(
            f"{name} must be bool or integer, got {dtype}: threshold first, as in probabilities > 0.5, or take the "
            "label, as in logits.argmax(1)"
        )


def _check_shape(name: str, mask: Tensor, form: Form) -> None:
    shape = tuple(mask.shape)
    several = len(shape) == 4 and (form == "channels" or (form == "binary" and shape[1] == 1))
    if not (len(shape) == 3 or several) or 0 in shape[1:]:
        raise ValueError(
            f"{name} must be {_AXES[form]} with at least one pixel, got {shape}: add the batch axis to a single mask, "
            f"as in {name}[None]"
        )


def _check_same(name: str, pred: Tensor, target: Tensor) -> None:
    if _by_pixel(pred).shape != _by_pixel(target).shape or pred.shape[-2:] != target.shape[-2:]:
        raise ValueError(
            f"{name} and target_masks must have the same shape, got {tuple(pred.shape)} and {tuple(target.shape)}: "
            "undo padding or resizing of the predictions; give labels of several classes as (N, H, W) in both, with "
            "num_classes="
        )
    if pred.device != target.device:
        raise ValueError(
            f"{name} and target_masks must be on one device, got {pred.device} and {target.device}: move one, as in "
            f"target_masks.to({name}.device)"
        )


def _by_pixel(mask: Tensor) -> Tensor:
    """Return (N, K, P) for (N, H, W) or (N, K, H, W)."""
    return mask.flatten(-2) if mask.ndim == 4 else mask.flatten(1)[:, None]
