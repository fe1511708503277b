"""Checks of logits and targets, shared by all losses. The shapes decide the task.

- binary: logits (N, 1, H, W) or (N, H, W), and a mask in either shape;
- multilabel: logits (N, C, H, W) and masks (N, C, H, W), each channel a separate binary problem;
- multiclass: logits (N, C, H, W) and labels (N, H, W).

Where values can be read, a target out of range is an error. Elsewhere its logits become NaN, and so does the loss.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .._torch import is_batched, valid_pixels
from ._input_checks import check_kinds, check_pixels, check_sums, check_values


class MaskInputs(NamedTuple):
    """Inputs of a loss of masks: N H W each if binary, N C H W if multilabel."""

    logits: Tensor  # float32 or float64, 0 at ignored pixels
    target: Tensor  # 0 to 1, in the given dtype, 0 at ignored pixels
    valid: Tensor | None  # bool; None if every pixel counts

    def as_channels(self) -> AnyInputs:
        """Return the same inputs with a channel axis."""
        logits, masks, valid = self
        if logits.ndim == 3:
            logits, masks, valid = logits[:, None], masks[:, None], None if valid is None else valid[:, None]
        return AnyInputs(logits, masks.to(logits.dtype), valid, exclusive=False)


class LabelInputs(NamedTuple):
    """Inputs of a loss of labels."""

    logits: Tensor  # N C H W, float32 or float64, 0 at ignored pixels
    labels: Tensor  # N H W, int64, 0 at ignored pixels
    valid: Tensor | None  # N H W bool; None if every pixel counts


class ShareInputs(NamedTuple):
    """Inputs of a loss of classes whose target holds probabilities."""

    logits: Tensor  # N C H W, float32 or float64, 0 at ignored pixels
    shares: Tensor  # N C H W, the logits' dtype, 0 at ignored pixels
    valid: Tensor | None  # N H W bool; None if every pixel counts


class AnyInputs(NamedTuple):
    """Inputs of a loss of masks or labels: K channels, each with a mask; one if binary."""

    logits: Tensor  # N K H W, float32 or float64, 0 at ignored pixels
    masks: Tensor  # N K H W, the logits' dtype, 0 at ignored pixels
    valid: Tensor | None  # N 1 H W or N K H W bool; None if every pixel counts
    exclusive: bool  # made from labels: each valid pixel belongs to one channel

    def probabilities(self) -> Tensor:
        """Return the probabilities, N K H W, 0 at ignored pixels."""
        probabilities = self.logits.softmax(1) if self.exclusive else self.logits.sigmoid()
        return probabilities if self.valid is None else probabilities.masked_fill(~self.valid, 0)


def are_labels(logits: Tensor, target: Tensor) -> bool:
    """Return whether the shapes are those of classes and labels.

    Raises:
        TypeError: if one of them is not a tensor.
    """
    for name, given in (("logits", logits), ("target", target)):
        if not isinstance(given, Tensor):
            raise TypeError(
                f"{name} must be a tensor, got a {type(given).__name__}: take the logits of a SegOutput (or use "
                f"DeepSupervisionLoss), and torch.from_numpy(...) for an array"
            )
    return logits.ndim == 4 and logits.shape[1] > 1 and target.ndim == 3


def mask_inputs(logits: Tensor, target: Tensor, *, ignore_index: int | None) -> MaskInputs:
    """Bring logits and masks to one shape, and logits to float32 unless they are float64.

    Raises:
        TypeError: if the logits are not real floating point, or the target is complex or a wide unsigned integer.
        ValueError: if the shapes are not those of a binary or multilabel task, differ or hold no pixel; if the devices
            differ; if `ignore_index` does not fit the target's dtype; on a CPU, if a value is outside 0 to 1.
    """
    labels = are_labels(logits, target)
    check_kinds(logits, target)
    if labels:
        raise ValueError(
            f"logits and target must be masks, got classes and labels of shape {tuple(logits.shape)} and "
            f"{tuple(target.shape)}: select the channel of salt, as in logits[:, 1:2] (for two classes, "
            f"logits[:, 1:] - logits[:, :1] gives the probability of their softmax), or use a loss of labels, such as "
            f"ce_loss or lovasz_softmax"
        )
    if logits.ndim == 4 and target.ndim == 4 and max(logits.shape[1], target.shape[1]) > 1:
        kind = "N, C, H, W"
    else:
        logits, target = _without_channel("logits", logits), _without_channel("target", target)
        kind = "N, H, W"
    if logits.shape != target.shape:
        channel = target.ndim == 4 and target.shape[1] == 1 and logits.shape[::2] == target.shape[::2]
        hint = "drop the channel of labels, as in target[:, 0]" if channel else "resize the logits to the target"
        raise ValueError(
            f"logits and target must have the same shape, got {tuple(logits.shape)} and {tuple(target.shape)} "
            f"(as {kind}): {hint}, or check that both come from one batch"
        )
    check_pixels(logits, target)
    valid = valid_pixels(target, ignore_index)
    if valid is not None:
        # Otherwise a NaN at an ignored pixel would reach the loss or the gradient.
        logits, target = logits.masked_fill(~valid, 0), target.masked_fill(~valid, 0)
    wrong = check_values(target, 1, "give 0 and 1, or probabilities of salt between them, as in target > 0")
    if wrong is not None:
        logits, target = _poisoned(logits, wrong), target.masked_fill(wrong, 0)
    return MaskInputs(_exact(logits), target, valid)


def label_inputs(logits: Tensor, target: Tensor, *, ignore_index: int | None) -> LabelInputs:
    """Bring labels to int64, and logits to float32 unless they are float64.

    Raises:
        TypeError: if the logits are not real floating point, or the labels are not integers.
        ValueError: if the shapes are not (N, C, H, W), with two classes or more, and (N, H, W), or hold no pixel; if
            the devices differ; if `ignore_index` does not fit the target's dtype; on a CPU, if a label is not 0 to
            C - 1.
    """
    fit = are_labels(logits, target)
    check_kinds(logits, target)
    if not fit:
        one_hot = target.shape == logits.shape and target.ndim == 4
        hint = (
            "turn one-hot masks into target.argmax(1)" if one_hot else "drop the channel of labels, as in target[:, 0]"
        )
        raise ValueError(
            f"logits and target must be classes (N, C, H, W), two or more, and labels (N, H, W), got "
            f"{tuple(logits.shape)} and {tuple(target.shape)}: {hint}, or use a loss of masks, such as bce_loss or "
            f"lovasz_hinge"
        )
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(f"labels must be integers, 0 to C - 1, got {target.dtype}: convert them, as in target.long()")
    if logits.shape[:1] + logits.shape[2:] != target.shape:
        raise ValueError(
            f"logits and target must have the same N, H and W, got {tuple(logits.shape)} and {tuple(target.shape)}: "
            f"resize the logits to the target, or check that both come from one batch"
        )
    check_pixels(logits, target)
    valid, labels = valid_pixels(target, ignore_index), target.long()
    if valid is not None:
        logits, labels = logits.masked_fill(~valid[:, None], 0), labels.masked_fill(~valid, 0)
    classes = logits.shape[1]
    wrong = check_values(
        labels, classes - 1, f"the logits have {classes} classes: give the other label as ignore_index, or relabel"
    )
    if wrong is not None:
        logits, labels = _poisoned(logits, wrong[:, None]), labels.masked_fill(wrong, 0)
    return LabelInputs(_exact(logits), labels, valid)


def class_inputs(logits: Tensor, target: Tensor, *, ignore_index: int | None) -> LabelInputs | ShareInputs:
    """Bring labels to int64, or probabilities of the classes, N C H W, to the logits' dtype.

    Raises:
        TypeError: as in `label_inputs`.
        ValueError: as in `label_inputs`; on a CPU, if probabilities are not 0 to 1 or do not sum to 1.
    """
    if are_labels(logits, target) or logits.shape != target.shape or logits.ndim != 4 or logits.shape[1] < 2:
        return label_inputs(logits, target, ignore_index=ignore_index)
    check_kinds(logits, target)
    check_pixels(logits, target)
    valid, logits = valid_pixels(target, ignore_index), _exact(logits)
    if valid is not None:
        valid = valid.any(1)
        logits, target = logits.masked_fill(~valid[:, None], 0), target.masked_fill(~valid[:, None], 0)
    wrong = check_values(target, 1, "give the probability of each class, or labels N H W")
    shares = target.to(logits.dtype)
    sums_wrong = check_sums(shares, valid)
    if sums_wrong is not None:
        wrong = sums_wrong if wrong is None else sums_wrong | wrong.any(1)
        logits = _poisoned(logits, wrong[:, None])
    return ShareInputs(logits, shares, valid)


def any_inputs(logits: Tensor, target: Tensor, *, ignore_index: int | None) -> AnyInputs:
    """Bring the target of any task to one mask a channel.

    Raises:
        TypeError: as in `mask_inputs` and `label_inputs`.
        ValueError: as in `mask_inputs` and `label_inputs`.
    """
    if are_labels(logits, target):
        logits, labels, valid = label_inputs(logits, target, ignore_index=ignore_index)
        masks = one_hot(labels, logits.shape[1], dtype=logits.dtype)
        if valid is not None:
            valid = valid[:, None]
            masks = masks.masked_fill(~valid, 0)
        return AnyInputs(logits, masks, valid, exclusive=True)
    return mask_inputs(logits, target, ignore_index=ignore_index).as_channels()


def one_hot(labels: Tensor, classes: int, *, dtype: torch.dtype) -> Tensor:
    """Return one mask a class, N C H W, for labels N H W."""
    shape = (*labels.shape[:1], classes, *labels.shape[1:])
    masks = labels.new_zeros(shape, dtype=dtype)
    if is_batched(labels) or torch.compiler.is_compiling():  # torch.vmap has no fast form in place
        return masks.scatter(1, labels[:, None], 1)
    return masks.scatter_(1, labels[:, None], 1)


def _without_channel(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim == 4 and tensor.shape[1] == 1:
        return tensor.squeeze(1)
    if tensor.ndim == 3:
        return tensor
    raise ValueError(
        f"{name} must be (N, 1, H, W) or (N, H, W), or (N, C, H, W) like its counterpart, got {tuple(tensor.shape)}: "
        f"select the channel of salt, as in {name}[:, 1:2], or add the batch axis, as in {name}[None]"
    )


def _poisoned(logits: Tensor, wrong: Tensor) -> Tensor:
    """Return NaN in place of logits where the target is wrong, which the host would have to wait to see."""
    return logits.masked_fill(wrong, torch.nan)


def _exact(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
