"""Topology-aware loss. Mosinska et al., Beyond the pixel-wise loss, 2018, https://arxiv.org/abs/1712.02190."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_choice
from .._torch import autocast_off
from ._inputs import mask_inputs
from ._reduce import REDUCTIONS, Reduction, reduce_images

Features = Callable[[Tensor], Sequence[Tensor]]

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def topology_loss(
    logits: Tensor,
    target: Tensor,
    features: Features,
    *,
    normalize: bool = True,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean squared differences of a frozen network's maps of prediction and mask, summed over the maps.

    Such maps tell lines, holes and gaps apart, which a loss of single pixels does not. The paper adds the loss to a
    cross-entropy, with a small weight; the 15th place of the TGS Salt challenge took .05.

    Empty masks give maps like any other: each pixel of theirs gets a gradient.

    Everything is computed in float32 (float64 stays), whatever autocast says. Prediction and mask pass through the
    network once each, and the mask's pass keeps nothing for the backward.

    Args:
        logits: raw scores, (N, 1, H, W) or (N, H, W), any floating dtype.
        target: a mask of 0 and 1, (N, H, W) or (N, 1, H, W).
        features: images N 3 H W -> maps N C h w. Their gradient by the images is wanted, that by weights is not:
            freeze them.
        normalize: images are to have ImageNet's mean and deviation; else they hold 0 to 1.
        ignore_index: at pixels of this target value both images are 0, and a map's pixels count by the share of valid
            pixels under them.
        reduction: "mean" over images that have a valid pixel, "sum", or "none": (N,).

    Returns:
        A scalar, or (N,). A batch without any valid pixel gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, the target is of no dtype that holds a mask, or features give no list
            of tensors.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; the features are no maps; on a CPU, a
            target beyond 0 to 1.

    Example:
        >>> logits, target = torch.zeros(1, 1, 4, 4), torch.ones(1, 4, 4)
        >>> topology_loss(logits, target, lambda x: [x, x], normalize=False).item()  # (1 - 1/2)^2, twice
        0.5
    """
    check_choice("reduction", reduction, REDUCTIONS)
    logits, target, valid = mask_inputs(logits, target, ignore_index=ignore_index)
    if logits.ndim == 4:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}: this loss compares one mask an image. "
            f"Call it for each channel, as in logits[:, i], target[:, i]."
        )
    shares, masks = logits.sigmoid(), target.to(logits.dtype)  # N H W
    if valid is not None:
        shares = shares.masked_fill(~valid, 0)
    with autocast_off(logits):
        predicted = features(_as_images(shares, normalize))
        with torch.no_grad():
            true = features(_as_images(masks, normalize))
        _check_maps(predicted, len(logits))
        distances = [(a - b).square().mean(1) for a, b in zip(predicted, true, strict=True)]  # N h w
    if valid is None:
        counted, means = None, [distance.mean((1, 2)) for distance in distances]
    else:
        counted = valid.flatten(1).any(1)
        means = [_mean_of_valid(distance, valid) for distance in distances]
    return reduce_images(torch.stack(means).sum(0), counted, reduction)


def _as_images(shares: Tensor, normalize: bool) -> Tensor:
    images = shares[:, None].expand(-1, 3, -1, -1)  # N 3 H W
    if not normalize:
        return images
    # Filled on the device: a tensor made from a list would be waited for on its way to a GPU.
    return torch.cat(
        [
            (images[:, i : i + 1] - mean) / std
            for i, (mean, std) in enumerate(zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True))
        ],
        dim=1,
    )


def _check_maps(maps: Sequence[Tensor], count: int) -> None:
    if not isinstance(maps, list | tuple) or not all(isinstance(x, Tensor) for x in maps):
        raise TypeError(f"features gave a {type(maps).__name__}. Return a list or tuple of maps N C h w.")
    shapes = [tuple(x.shape) for x in maps]
    if not shapes or any(len(shape) != 4 or shape[0] != count for shape in shapes):
        raise ValueError(f"features gave the shapes {shapes} of {count} images. Return a list of maps N C h w.")


def _mean_of_valid(distance: Tensor, valid: Tensor) -> Tensor:
    height, width = distance.shape[-2:]
    share = F.adaptive_avg_pool2d(valid.to(distance.dtype), (height, width))  # N h w
    # Without any valid pixel both images are 0, and so is their distance.
    return (distance * share).sum((1, 2)) / share.sum((1, 2)).clamp(min=torch.finfo(share.dtype).tiny)


class TopologyLoss(nn.Module):
    """`topology_loss` with a frozen network.

    Args:
        features: images N 3 H W -> maps N C h w, of the logits' precision: a module, which moves along with this one
            and is set to evaluation for good, or any callable. None is conv1_2, conv2_2 and conv3_4 of timm's
            `vgg19.tv_in1k`, as in the paper; its weights come from the Hugging Face Hub once, and then from its cache.
        normalize: as in the function.
        ignore_index: likewise.
        reduction: likewise.

    Raises:
        OSError: if VGG19's weights can't be had.
        TypeError: features can't be called.
        ValueError: an option is not known.
    """

    def __init__(
        self,
        features: Features | None = None,
        *,
        normalize: bool = True,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_choice("reduction", reduction, REDUCTIONS)
        if features is not None and not callable(features):
            raise TypeError(f"features={features!r} can't be called. Give images N 3 H W -> maps N C h w, or None.")
        self.features = _vgg19() if features is None else features
        self.train(self.training)
        self.normalize = normalize
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but for the network's: it stays in evaluation, or batch norms of it would learn."""
        super().train(mode)
        if isinstance(self.features, nn.Module):
            self.features.eval()
        return self

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `topology_loss(logits, target, features)` with the module's options."""
        return topology_loss(
            logits,
            target,
            self.features,
            normalize=self.normalize,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Options, for print."""
        return f"normalize={self.normalize}, ignore_index={self.ignore_index}, reduction={self.reduction!r}"


def _vgg19() -> nn.Module:
    from ..encoders.timm.vgg import VGG19Features  # not at import: timm takes more than a second

    try:
        return VGG19Features()
    except OSError as error:
        raise OSError(
            f"{error}. The topology loss needs no VGG19 in particular: TopologyLoss(features) takes any callable, "
            f"images N 3 H W -> maps N C h w, such as the encoder of a network that you have"
        ) from error
