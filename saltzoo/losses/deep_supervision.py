"""The loss of a model that returns more than a mask. Deeply-supervised nets: https://arxiv.org/abs/1409.5185."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..output import SegOutput
from .bce import bce_loss

_EMPTY = -1
"""Stands in a target for the pixels of images that are not to count."""


class DeepSupervisionLoss(nn.Module):
    """A loss of the mask, and binary cross-entropies of everything beside it in a SegOutput.

    - Each decoder map is compared, at its own size, with the share of salt under each of its pixels. Images without
      salt are left out, as the 21st place of the TGS Salt challenge did; in a batch without any salt the term is 0.
    - The image's logit is compared with "is there any salt?".
    - The auxiliary logits are brought to the target's size by bilinear interpolation.

    A plain tensor of logits is taken too, so that one loss serves a model with its extra heads and without them.

    Args:
        loss: (logits, target) -> a scalar, for the mask.
        map_weight: of each decoder map.
        image_weight: of the image's logit.
        auxiliary_weight: of the auxiliary logits; .4 in PSPNet.

    Shape:
        A SegOutput with logits N 1 H W, and a target N H W or N 1 H W of 0 and 1 -> a scalar.

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
        map_weight: float = 0.1,
        image_weight: float = 0.05,
        auxiliary_weight: float = 0.4,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.map_weight = map_weight
        self.image_weight = image_weight
        self.auxiliary_weight = auxiliary_weight

    def forward(self, output: Tensor | SegOutput, target: Tensor) -> Tensor:
        """Return the weighted sum.

        Raises:
            ValueError: a part of the output does not fit the target.
        """
        if not isinstance(output, SegOutput):
            return self.loss(output, target)
        total = self.loss(output.logits, target)
        masks = (target if target.ndim == 4 else target[:, None]).float()  # N 1 H W
        some = masks.flatten(1).any(1, keepdim=True)  # N 1, whether there is salt
        for logits in output.maps:
            share = F.adaptive_avg_pool2d(masks, (logits.shape[-2], logits.shape[-1]))  # N 1 h w
            share = share.masked_fill(~some[:, :, None, None], _EMPTY)
            total = total + self.map_weight * bce_loss(logits, share, ignore_index=_EMPTY)
        if output.image is not None:
            if output.image.shape != some.shape:
                raise ValueError(
                    f"the image's logit must be N 1, here {tuple(some.shape)}, got {tuple(output.image.shape)}"
                )
            image = output.image[:, :, None, None]
            total = total + self.image_weight * bce_loss(image, some[:, :, None, None])
        if output.auxiliary is not None:
            auxiliary = output.auxiliary.to(torch.promote_types(output.auxiliary.dtype, torch.float32))
            full = F.interpolate(auxiliary, size=masks.shape[-2:], mode="bilinear", align_corners=False)
            total = total + self.auxiliary_weight * self.loss(full, target)
        return total

    def extra_repr(self) -> str:
        """Weights, for print."""
        return (
            f"map_weight={self.map_weight}, image_weight={self.image_weight}, auxiliary_weight={self.auxiliary_weight}"
        )
