"""Loss of a model that returns more than a mask. Deeply-supervised nets: https://arxiv.org/abs/1409.5185."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_finite, check_flags
from ..contracts import SegOutput
from ._inputs import AnyInputs, any_inputs
from ._options import shown_options
from ._reduce import reduce_pixels
from ._weights import Weights


class DeepSupervisionLoss(nn.Module):
    """Loss of the mask plus cross-entropies of the other parts of a SegOutput.

    - Each decoder map is compared, at its size, with the share of salt under each of its pixels (of each class, if the
      target holds labels). Images without salt, or with class 0 alone, are left out, as the 21st place of the TGS Salt
      challenge did. In a batch without salt the term is 0.
    - The image's logit is compared with whether the image holds any salt: any pixel of a mask, or of a class other
      than 0.
    - The auxiliary logits are interpolated bilinearly to the target's size, and get the loss of the mask.

    A plain tensor of logits gets the loss of the mask alone, so that one loss serves a model with and without extra
    heads.

    Args:
        loss: function or module (logits, target) -> scalar for the mask, with the same `ignore_index` if there is one.
        map_weight: weight of every decoder map, or one weight for each, coarsest first.
        image_weight: weight of the image's logit.
        auxiliary_weight: weight of the auxiliary logits; .4 in PSPNet and at the 15th place.
        skip_empty: whether images without salt are left out of the maps' losses.
        ignore_index: target value of pixels that count in no term. A map's pixel is left out if all pixels under it
            are.

    Raises:
        TypeError: if `loss` is not callable, or is a class; if a weight is not a number, now or when it is set later.
        ValueError: if a weight is not finite, now or when it is set later.

    Shape:
        A SegOutput with logits N K H W, and a target N H W, N 1 H W or N K H W, as `loss` takes it -> a scalar.

    Example:
        >>> import torch
        >>> from saltzoo.losses import lovasz_hinge
        >>> output = SegOutput(torch.zeros(2, 1, 8, 8), maps=(torch.zeros(2, 1, 4, 4),), image=torch.zeros(2, 1))
        >>> loss = DeepSupervisionLoss(lovasz_hinge, map_weight=0.1, image_weight=0.05)
        >>> round(loss(output, torch.ones(2, 8, 8)).item(), 4)  # 1 + (.1 + .05) log 2
        1.104
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        map_weight: float | Sequence[float] = 0.1,
        image_weight: float = 0.05,
        auxiliary_weight: float = 0.4,
        skip_empty: bool = True,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        if isinstance(loss, type) or not callable(loss):
            raise TypeError(f"loss must be a function or an instance of a module, as in BCELoss(), got {loss!r}")
        check_flags(skip_empty=skip_empty)
        self.loss = loss
        self.map_weight = map_weight
        self.image_weight = image_weight
        self.auxiliary_weight = auxiliary_weight
        self.skip_empty = skip_empty
        self.ignore_index = ignore_index

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; weights are checked."""
        if name == "map_weight" and isinstance(value, Sequence):
            value = Weights(name, value)
        elif name in ("map_weight", "image_weight", "auxiliary_weight"):
            check_finite(**{name: value})
        super().__setattr__(name, value)

    def forward(self, output: Tensor | SegOutput, target: Tensor) -> Tensor:
        """Return the weighted sum.

        Raises:
            ValueError: if a part of the output does not fit the target or the weights, or the loss is not a scalar.
        """
        if not isinstance(output, SegOutput):
            return self.loss(output, target)
        total = self.loss(output.logits, target)
        if total.ndim > 0:
            raise ValueError(
                f"the loss of the mask must be a scalar, got shape {tuple(total.shape)}: use reduction='mean' or 'sum'"
            )
        if not output.maps and output.image is None and output.auxiliary is None:
            return total
        truth = any_inputs(output.logits, target, ignore_index=self.ignore_index)
        salt = truth.masks[:, 1:] if truth.exclusive else truth.masks
        has_salt = (salt > 0).flatten(1).any(1, keepdim=True)  # N 1
        valid = truth.masks.new_ones(1, 1, 1, 1) if truth.valid is None else truth.valid.to(truth.masks.dtype)
        for logits, weight in zip(output.maps, self._map_weights(len(output.maps)), strict=True):
            total = total + weight * self._map_loss(logits, truth, valid, has_salt)
        if output.image is not None:
            if output.image.shape != has_salt.shape:
                raise ValueError(
                    f"the image's logits must be N 1, here {tuple(has_salt.shape)}, got {tuple(output.image.shape)}"
                )
            counted = valid.flatten(1).any(1, keepdim=True).expand(has_salt.shape)  # N 1
            total = total + self.image_weight * _cross_entropy(output.image, has_salt.to(valid.dtype), counted)
        if output.auxiliary is not None:
            if output.auxiliary.shape[:2] != truth.masks.shape[:2]:
                raise ValueError(
                    f"auxiliary logits must be N K h w with (N, K) = {tuple(truth.masks.shape[:2])}, "
                    f"got {tuple(output.auxiliary.shape)}"
                )
            full = F.interpolate(_exact(output.auxiliary), size=target.shape[-2:], mode="bilinear", align_corners=False)
            total = total + self.auxiliary_weight * self.loss(full, target)
        return total

    def _map_weights(self, count: int) -> Sequence[float]:
        if not isinstance(self.map_weight, Sequence):
            return [self.map_weight] * count
        if len(self.map_weight) != count:
            raise ValueError(
                f"map_weight must hold a weight for each of the model's {count} maps, got {len(self.map_weight)}: "
                f"give {count}, coarsest first, or one number for all"
            )
        return self.map_weight

    def _map_loss(self, logits: Tensor, truth: AnyInputs, valid: Tensor, has_salt: Tensor) -> Tensor:
        height, width = logits.shape[-2:]
        expected = (*truth.masks.shape[:2], height, width)
        if tuple(logits.shape) != expected:
            raise ValueError(f"a map must be N K h w, here {expected}, got {tuple(logits.shape)}")
        share = F.adaptive_avg_pool2d(truth.masks, (height, width))  # N K h w
        if truth.valid is None:
            counted = torch.ones_like(share, dtype=torch.bool)
        else:
            pixels = F.adaptive_avg_pool2d(valid, (height, width))  # N 1 h w or N K h w
            counted = (pixels > 0).expand(share.shape)
            share = share / pixels.clamp(min=torch.finfo(pixels.dtype).tiny)
        if self.skip_empty:
            counted = counted & has_salt[:, :, None, None]
        return _cross_entropy(logits, share, counted, exclusive=truth.exclusive)

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)


def _cross_entropy(logits: Tensor, share: Tensor, counted: Tensor, *, exclusive: bool = False) -> Tensor:
    """Return the mean cross-entropy over counted pixels, for targets between 0 and 1. Other pixels may be NaN."""
    logits = _exact(logits).masked_fill(~counted, 0)
    if exclusive:
        counted = counted[:, 0]
        loss = F.cross_entropy(logits, share, reduction="none")  # N h w
    else:
        loss = F.binary_cross_entropy_with_logits(logits, share, reduction="none")
    return reduce_pixels(loss.masked_fill(~counted, 0), counted, "mean")


def _exact(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
