"""The score of the TGS Salt Identification Challenge: mean precision over ten IoU thresholds."""

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

Mask = Tensor | npt.NDArray[Any]
REDUCTIONS = ("mean", "none")


def _salt(name: str, mask: Mask) -> Tensor:
    """Bool (N, P), wherever the mask came from.

    Raises:
        TypeError: not an array or tensor of bool or integers.
        ValueError: not (N, H, W) or (N, 1, H, W), or without pixels.
    """
    if isinstance(mask, np.ndarray):
        discrete = mask.dtype.kind in "biu"
    elif isinstance(mask, Tensor):
        discrete = not (mask.is_floating_point() or mask.is_complex())
    else:
        raise TypeError(f"{name} is a {type(mask).__name__}. Give a torch tensor or a numpy array of shape (N, H, W).")
    if not discrete:
        raise TypeError(
            f"{name} is {mask.dtype}. A mask is bool or integer: threshold first, as in `probabilities > 0.5`."
        )
    shape = tuple(mask.shape)
    if not (len(shape) == 3 or (len(shape) == 4 and shape[1] == 1)) or 0 in shape[1:]:
        raise ValueError(
            f"{name} has shape {shape}. Give (N, H, W) or (N, 1, H, W) with at least one pixel; "
            f"add the batch axis to a single mask, as in {name}[None]."
        )
    if isinstance(mask, np.ndarray):
        salt = torch.from_numpy(mask > 0)  # the comparison copies, so a read-only or reversed array is taken too
    else:
        salt = mask > 0 if mask.dtype.is_signed else mask.bool()  # torch compares no uint16, uint32 or uint64
    return salt.flatten(1)


def _tenths(pred_masks: Mask, target_masks: Mask) -> Tensor:
    """Score of each image in tenths, (N,) int64: how many of the ten thresholds its IoU is above."""
    pred, target = _salt("pred_masks", pred_masks), _salt("target_masks", target_masks)
    if pred_masks.shape[-2:] != target_masks.shape[-2:] or len(pred) != len(target):
        raise ValueError(
            f"pred_masks {tuple(pred_masks.shape)} and target_masks {tuple(target_masks.shape)} differ. Give "
            "masks of the same images at the same size: undo padding or resizing of the predictions."
        )
    if pred.device != target.device:
        raise ValueError(
            f"pred_masks are on {pred.device}, target_masks on {target.device}. "
            "Move one, as in target_masks.to(pred_masks.device)."
        )
    intersection = (pred & target).sum(1)
    union = (pred | target).sum(1)
    percent = torch.arange(50, 100, 5, device=pred.device)
    # IoU > t, cross-multiplied: integers decide an IoU that lies on a threshold, rounding does not.
    passed = (intersection[:, None] * 100 > union[:, None] * percent).sum(1)
    return torch.where(union == 0, 10, passed)


def salt_map(pred_masks: Mask, target_masks: Mask, *, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """Competition score: mean over t = .50, .55, ..., .95 of [IoU > t], strictly, averaged over images.

    An image where both masks are empty scores 1, one where exactly one is empty 0. The count is exact, in
    integers. The competition, https://www.kaggle.com/c/tgs-salt-identification-challenge, scores masks of
    101 x 101 pixels.

    Args:
        pred_masks: (N, H, W) or (N, 1, H, W), bool or integer, above 0 is salt; a torch tensor or a numpy
            array.
        target_masks: the same for the truth.
        reduction: "mean", or "none": a score an image.

    Returns:
        A float32 tensor in 0..1 on the masks' device: a scalar, or (N,).

    Raises:
        TypeError: masks are not bool or integer (threshold probabilities first), or neither tensor nor array.
        ValueError: shapes, devices or `reduction` do not fit, or a mean is asked of no image.

    Example:
        >>> truth = torch.tensor([[[1, 1, 1, 1, 1]], [[0, 0, 0, 0, 0]]])
        >>> salt_map(torch.tensor([[[1, 1, 1, 0, 0]], [[0, 0, 0, 0, 0]]]), truth, reduction="none")
        tensor([0.2000, 1.0000])
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction={reduction!r} is not known. Give one of: {', '.join(map(repr, REDUCTIONS))}.")
    tenths = _tenths(pred_masks, target_masks)
    if reduction == "none":
        return tenths / 10
    if len(tenths) == 0:
        raise ValueError("no image was given, so there is no mean. Give at least one, or use reduction='none'.")
    return tenths.sum() / (10 * len(tenths))


class SaltMAP:
    """Competition score over many batches and processes; see `salt_map`.

    Sums are integers on the device of the first update: the order of batches and processes changes no digit,
    and only `compute` waits for the device.

    Example:
        >>> metric = SaltMAP()
        >>> mask = torch.ones(2, 4, 4, dtype=torch.bool)
        >>> metric.update(mask, mask).update(~mask, mask).compute()
        0.5
    """

    def __init__(self) -> None:
        self._state: Tensor | None = None  # scores in tenths, images: int64

    def update(self, pred_masks: Mask, target_masks: Mask) -> Self:
        """Add a batch; takes what `salt_map` takes, and raises what it raises."""
        tenths = _tenths(pred_masks, target_masks)
        return self._add(torch.stack([tenths.sum(), tenths.new_full((), len(tenths))]))

    def compute(self) -> float:
        """Mean score of all images seen, in 0..1.

        Raises:
            ValueError: no image was seen.
        """
        tenths, images = (0, 0) if self._state is None else self._state.tolist()
        if images == 0:
            raise ValueError("SaltMAP has seen no image. Call update(pred_masks, target_masks) before compute().")
        return float(tenths / (10 * images))

    def merge(self, other: "SaltMAP") -> Self:
        """Add what another accumulator has seen, which stays as it is."""
        return self if other._state is None else self._add(other._state)

    def reset(self) -> None:
        """Forget every image."""
        self._state = None

    def sync(self) -> Self:
        """Add up the processes of torch.distributed, each of which must call this, once, before `compute`.

        Every process then holds the whole. Without torch.distributed nothing happens. A process that saw no
        image takes part like the others.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return self
        # All processes must choose alike, so the backend decides and not the state, which some may not have.
        device = torch.device("cpu" if "cpu:" in dist.get_backend_config() else "cuda")
        home = device if self._state is None else self._state.device
        state = torch.zeros(2, dtype=torch.int64) if self._state is None else self._state.clone()
        state = state.to(device)
        dist.all_reduce(state)
        self._state = state.to(home)
        return self

    def _add(self, state: Tensor) -> Self:
        # Out of place: a tensor made under inference_mode refuses to be changed outside of it.
        self._state = state if self._state is None else self._state + state.to(self._state.device)
        return self
