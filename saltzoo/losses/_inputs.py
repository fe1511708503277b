"""What every loss asks of its inputs, checked in one place. The shapes say what the task is.

- binary: logits (N, 1, H, W) or (N, H, W), and a mask in either shape;
- multilabel: logits (N, C, H, W) and masks (N, C, H, W), each channel a binary problem of its own;
- multiclass: logits (N, C, H, W) and labels (N, H, W).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .._torch import valid_pixels

_WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


class MaskInputs(NamedTuple):
    """Of a loss of masks. N H W each if binary, N C H W if multilabel."""

    logits: Tensor  # float32 or float64, 0 at ignored pixels
    target: Tensor  # 0 to 1, the dtype in which it came, 0 at ignored pixels
    valid: Tensor | None  # bool; None where every pixel counts


class LabelInputs(NamedTuple):
    """Of a loss of labels."""

    logits: Tensor  # N C H W, float32 or float64, 0 at ignored pixels
    labels: Tensor  # N H W, int64, 0 at ignored pixels
    valid: Tensor | None  # N H W bool; None where every pixel counts


class AnyInputs(NamedTuple):
    """Of a loss that takes masks and labels: a mask a channel, K of them; one if binary."""

    logits: Tensor  # N K H W, float32 or float64, 0 at ignored pixels
    masks: Tensor  # N K H W, the logits' dtype, 0 at ignored pixels
    valid: Tensor | None  # N 1 H W or N K H W bool; None where every pixel counts
    exclusive: bool  # of labels: each valid pixel belongs to one channel

    def shares(self) -> Tensor:
        """Probabilities, N K H W, 0 at ignored pixels."""
        shares = self.logits.softmax(1) if self.exclusive else self.logits.sigmoid()
        return shares if self.valid is None else shares.masked_fill(~self.valid, 0)


def are_labels(logits: Tensor, target: Tensor) -> bool:
    """Whether the shapes are those of classes and labels.

    Raises:
        TypeError: one is no tensor.
    """
    for name, given in (("logits", logits), ("target", target)):
        if not isinstance(given, Tensor):
            raise TypeError(
                f"{name} is a {type(given).__name__}. Give a tensor: of a SegOutput its logits (or take "
                f"DeepSupervisionLoss), of an array torch.from_numpy(...)."
            )
    return logits.ndim == 4 and logits.shape[1] > 1 and target.ndim == 3


def mask_inputs(logits: Tensor, target: Tensor, *, ignore_index: int | None) -> MaskInputs:
    """Bring logits and masks to one shape, logits to float32 (float64 stays).

    Raises:
        TypeError: logits are not real floating point, or the target is complex.
        ValueError: the shapes are not those of a binary or a multilabel task, differ or hold no pixel; the devices
            differ; `ignore_index` does not fit the target's dtype; on a CPU, if a value lies outside of 0 to 1.
    """
    labels = are_labels(logits, target)
    _check_kinds(logits, target)
    if labels:
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} are classes and labels; this loss takes "
            f"masks. Select the channel of salt, as in logits[:, 1:2] (of two classes, logits[:, 1:] - logits[:, :1] "
            f"says the same as their softmax), or take a loss of labels, such as ce_loss or lovasz_softmax."
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
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} (as {kind}) differ. They must "
            f"agree: {hint}, or check that both come from one batch."
        )
    _check_pixels(logits, target)
    valid = valid_pixels(target, ignore_index)
    if valid is not None:
        # A NaN under an ignored pixel reaches neither the loss nor the gradient.
        logits, target = logits.masked_fill(~valid, 0), target.masked_fill(~valid, 0)
    if target.dtype != torch.bool:
        _check_values(target, 1, "a mask holds 0 and 1, or shares of salt between them: as in target > 0")
    return MaskInputs(_exact(logits), target, valid)


def label_inputs(logits: Tensor, target: Tensor, *, ignore_index: int | None) -> LabelInputs:
    """Bring labels to int64, logits to float32 (float64 stays).

    Raises:
        TypeError: logits are not real floating point, or labels are not integers.
        ValueError: the shapes are not (N, C, H, W), of two classes or more, and (N, H, W), or hold no pixel; the
            devices differ; `ignore_index` does not fit the target's dtype; on a CPU, if a label is not 0 to C - 1.
    """
    fit = are_labels(logits, target)
    _check_kinds(logits, target)
    if not fit:
        one_hot = target.shape == logits.shape and target.ndim == 4
        hint = "of one-hot masks take target.argmax(1)" if one_hot else "drop a channel of labels, as in target[:, 0]"
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} are no classes and labels. This loss takes "
            f"logits (N, C, H, W) of two classes or more, and labels (N, H, W): {hint}, or take a loss of masks, "
            f"such as bce_loss or lovasz_hinge."
        )
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(f"target is {target.dtype}. Labels are integers, 0 to C - 1: as in target.long().")
    if logits.shape[:1] + logits.shape[2:] != target.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} differ in N, H or W. They must "
            f"agree: resize the logits to the target, or check that both come from one batch."
        )
    _check_pixels(logits, target)
    valid, labels = valid_pixels(target, ignore_index), target.long()
    if valid is not None:
        logits, labels = logits.masked_fill(~valid[:, None], 0), labels.masked_fill(~valid, 0)
    classes = logits.shape[1]
    _check_values(labels, classes - 1, f"logits are of {classes} classes: give the others as ignore_index, or relabel")
    return LabelInputs(_exact(logits), labels, valid)


def any_inputs(logits: Tensor, target: Tensor, *, ignore_index: int | None) -> AnyInputs:
    """Bring the target of any task to a mask a channel.

    Raises:
        TypeError: what `mask_inputs` or `label_inputs` raises.
        ValueError: likewise.
    """
    if are_labels(logits, target):
        logits, labels, valid = label_inputs(logits, target, ignore_index=ignore_index)
        masks = torch.zeros_like(logits).scatter_(1, labels[:, None], 1)
        if valid is not None:
            valid = valid[:, None]
            masks = masks.masked_fill(~valid, 0)
        return AnyInputs(logits, masks, valid, exclusive=True)
    logits, masks, valid = mask_inputs(logits, target, ignore_index=ignore_index)
    if logits.ndim == 3:
        logits, masks, valid = logits[:, None], masks[:, None], None if valid is None else valid[:, None]
    return AnyInputs(logits, masks.to(logits.dtype), valid, exclusive=False)


def _check_kinds(logits: Tensor, target: Tensor) -> None:
    if not logits.is_floating_point():
        raise TypeError(
            f"logits are {logits.dtype}. A loss takes raw scores in floating point: "
            f"give the model's output before any threshold."
        )
    if target.is_complex() or target.dtype in _WIDE_UNSIGNED:  # torch compares neither
        raise TypeError(f"target is {target.dtype}. Give bool, uint8, a signed integer or a real dtype.")


def _check_pixels(logits: Tensor, target: Tensor) -> None:
    if logits.numel() == 0:
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} hold no pixel. Skip an empty batch."
        )
    if logits.device != target.device:
        raise ValueError(
            f"logits are on {logits.device}, target on {target.device}. Move one: target.to(logits.device)."
        )


def _check_values(target: Tensor, high: int, hint: str) -> None:
    # Elsewhere than in a CPU's memory the values would have to be waited for.
    if target.device.type != "cpu" or torch.compiler.is_compiling():
        return
    least, most = (bound.item() for bound in target.detach().aminmax())
    if not (least >= 0 and most <= high):  # so that NaN is found
        raise ValueError(f"target holds {least:g} to {most:g}, beyond 0 to {high}; {hint}.")


def _without_channel(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim == 4 and tensor.shape[1] == 1:
        return tensor.squeeze(1)
    if tensor.ndim == 3:
        return tensor
    raise ValueError(
        f"{name} has shape {tuple(tensor.shape)}. Give (N, 1, H, W) or (N, H, W), or (N, C, H, W) for both: "
        f"select the channel of salt, as in {name}[:, 1:2], or add the batch axis, as in {name}[None]."
    )


def _exact(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
