"""What every loss asks of its inputs, and how it reduces: checked and done in one place."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Reduction = Literal["mean", "sum", "none"]
REDUCTIONS = ("mean", "sum", "none")


class BinaryInputs(NamedTuple):
    """Logits and target of a binary loss, in one shape and on one device."""

    logits: Tensor  # N H W, float32 or float64, 0 at ignored pixels
    target: Tensor  # N H W, the dtype in which it came
    valid: Tensor | None  # N H W bool; None where every pixel counts


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that an option does not know.

    Raises:
        ValueError: `value` is not one of `choices`.
    """
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not known. Give one of: {', '.join(map(repr, choices))}.")


def _without_channel(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim == 4 and tensor.shape[1] == 1:
        return tensor.squeeze(1)
    if tensor.ndim == 3:
        return tensor
    raise ValueError(
        f"{name} has shape {tuple(tensor.shape)}. A binary loss takes (N, 1, H, W) or (N, H, W): "
        f"select the channel of salt, as in {name}[:, 1:2], or add the batch axis, as in {name}[None]."
    )


def _check_ignore_index(target: Tensor, ignore_index: int) -> None:
    # Without this check torch wraps the number: -100 would ignore the value 156 of a uint8 target.
    if target.is_floating_point():
        return
    low, high = (0, 1) if target.dtype == torch.bool else _integer_range(target.dtype)
    if not low <= ignore_index <= high:
        raise ValueError(
            f"ignore_index={ignore_index} cannot occur in a target of {target.dtype}, which holds {low} to "
            f"{high}. Give the target in a wider dtype, as in target.long(), or leave ignore_index at None."
        )


def _integer_range(dtype: torch.dtype) -> tuple[int, int]:
    info = torch.iinfo(dtype)
    return info.min, info.max


def binary_inputs(logits: Tensor, target: Tensor, *, ignore_index: int | None) -> BinaryInputs:
    """Bring logits and target of a binary loss to N H W, logits to float32 (float64 stays).

    Raises:
        TypeError: logits are not real floating point, or the target is complex.
        ValueError: the shapes are not (N, 1, H, W) or (N, H, W), differ or hold no pixel; the devices differ;
            `ignore_index` does not fit the target's dtype.
    """
    if not logits.is_floating_point():
        raise TypeError(
            f"logits are {logits.dtype}. A loss takes raw scores in floating point: "
            "give the model's output before any threshold."
        )
    if target.is_complex():
        raise TypeError(f"target is {target.dtype}. Give 0 and 1 as bool, an integer or a real dtype.")
    logits, target = _without_channel("logits", logits), _without_channel("target", target)
    if logits.shape != target.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} (as N, H, W) differ. They must "
            "agree: resize the logits to the target, or check that both come from one batch."
        )
    if logits.numel() == 0:
        raise ValueError(f"logits and target of shape {tuple(logits.shape)} hold no pixel. Skip an empty batch.")
    if logits.device != target.device:
        raise ValueError(
            f"logits are on {logits.device}, target on {target.device}. Move one: target.to(logits.device)."
        )
    valid = None
    if ignore_index is not None:
        _check_ignore_index(target, ignore_index)
        valid = target != ignore_index
        # A NaN under an ignored pixel reaches neither the loss nor the gradient.
        logits = logits.masked_fill(~valid, 0)
    if logits.dtype != torch.float64:
        logits = logits.float()
    return BinaryInputs(logits, target, valid)


def reduce_loss(loss: Tensor, valid: Tensor | None, reduction: Reduction) -> Tensor:
    """Reduce losses of pixels or images; those that are not valid must be 0 and do not count in a mean.

    Where nothing is valid the mean is 0, not NaN.
    """
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if valid is None:
        return loss.mean()
    return loss.sum() / valid.sum().clamp(min=1)
