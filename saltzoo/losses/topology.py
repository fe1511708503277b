"""Topology-aware loss. Mosinska et al., Beyond the pixel-wise loss, 2018, https://arxiv.org/abs/1712.02190."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_flags
from .._torch import autocast_off
from ._inputs import mask_inputs
from ._options import Reduction, check_common, shown_options
from ._reduce import reduce_images

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
    """Return the mean squared difference between a frozen network's maps of prediction and mask, summed over the maps.

    The maps react to lines, holes and gaps, which a loss of single pixels does not see. The paper adds the loss to a
    cross-entropy with a small weight; the 15th place of the TGS Salt challenge used .05.

    An empty mask has maps like any other: each of its pixels gets a gradient.

    The loss is computed in float32, or in float64 for float64 logits, also under autocast. Prediction and mask pass
    through the network once each; the pass of the mask stores nothing for the backward pass.

    Args:
        logits: raw scores, (N, 1, H, W) or (N, H, W), any floating dtype.
        target: mask of 0 and 1, (N, H, W) or (N, 1, H, W).
        features: function from images N 3 H W to a list of maps N C h w. The gradient with respect to its weights is
            not needed: freeze them.
        normalize: whether images are normalized by ImageNet's mean and deviation; otherwise they hold 0 to 1.
        ignore_index: target value of ignored pixels. Both images are 0 there, and a map's pixel is weighted by the
            share of valid pixels under it.
        reduction: "mean" over images that have a valid pixel, "sum", or "none": (N,).

    Returns:
        A scalar, or (N,). A batch without valid pixels gives 0 with gradient 0.

    Raises:
        TypeError: if the logits are not floating point, the target has a dtype that cannot hold a mask, or `features`
            does not return a list of tensors.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit, or `features` does not return maps; on
            a CPU, if the target leaves 0 to 1.

    Example:
        >>> logits, target = torch.zeros(1, 1, 4, 4), torch.ones(1, 4, 4)
        >>> topology_loss(logits, target, lambda x: [x, x], normalize=False).item()  # (1 - 1/2)^2, twice
        0.5
    """
    check_flags(normalize=normalize)
    check_common(ignore_index, reduction)
    logits, target, valid = mask_inputs(logits, target, ignore_index=ignore_index)
    if logits.ndim == 4:
        raise ValueError(
            f"logits must be one mask an image for this loss, got {tuple(logits.shape)}: "
            f"call it for each channel, as in logits[:, i], target[:, i]"
        )
    probabilities, masks = logits.sigmoid(), target.to(logits.dtype)  # N H W
    if valid is not None:
        probabilities = probabilities.masked_fill(~valid, 0)
    with autocast_off(logits):
        predicted = features(_as_images(probabilities, normalize))
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


def _as_images(probabilities: Tensor, normalize: bool) -> Tensor:
    images = probabilities[:, None].expand(-1, 3, -1, -1)  # N 3 H W
    if not normalize:
        return images
    # Plain numbers: the host would wait while a tensor made from a list is copied to a GPU.
    return torch.cat(
        [
            (images[:, i : i + 1] - mean) / std
            for i, (mean, std) in enumerate(zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True))
        ],
        dim=1,
    )


def _check_maps(maps: Sequence[Tensor], count: int) -> None:
    if not isinstance(maps, list | tuple) or not all(isinstance(x, Tensor) for x in maps):
        raise TypeError(f"features must return a list or tuple of maps N C h w, got a {type(maps).__name__}")
    shapes = [tuple(x.shape) for x in maps]
    if not shapes or any(len(shape) != 4 or shape[0] != count for shape in shapes):
        raise ValueError(f"features must return maps N C h w with N = {count}, got the shapes {shapes}")


def _mean_of_valid(distance: Tensor, valid: Tensor) -> Tensor:
    height, width = distance.shape[-2:]
    share = F.adaptive_avg_pool2d(valid.to(distance.dtype), (height, width))  # N h w
    # Without valid pixels both images are 0, and so is their distance.
    return (distance * share).sum((1, 2)) / share.sum((1, 2)).clamp(min=torch.finfo(share.dtype).tiny)


class TopologyLoss(nn.Module):
    """`topology_loss` as a module that holds the frozen network. It keeps the function's options as attributes.

    Args:
        features: function from images N 3 H W to a list of maps N C h w, in the precision of the logits. A module
            moves along with this one and stays in evaluation mode. None for conv1_2, conv2_2 and conv3_4 of timm's
            `vgg19.tv_in1k`, as in the paper; its weights are downloaded once from the Hugging Face Hub.
        normalize: whether images are normalized by ImageNet's mean and deviation; otherwise they hold 0 to 1.
        ignore_index: target value of ignored pixels, see `topology_loss`.
        reduction: "mean" over images that have a valid pixel, "sum" or "none".

    Raises:
        OSError: if VGG19's weights are neither cached nor downloadable.
        TypeError: if `features` is not callable, or `ignore_index` is neither a whole number nor None.
        ValueError: if `reduction` is unknown.
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
        check_flags(normalize=normalize)
        check_common(ignore_index, reduction)
        if features is not None and not callable(features):
            raise TypeError(f"features must be a callable, images N 3 H W -> maps N C h w, or None, got {features!r}")
        self.features: nn.Module | Features = _vgg19() if features is None else features
        self.train(self.training)
        self.normalize = normalize
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def train(self, mode: bool = True) -> Self:
        """Set the mode, except that of the network: it stays in evaluation, so that batch norms do not learn."""
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
        """Return the options, for print."""
        return shown_options(self)


def _vgg19() -> nn.Module:
    from ..encoders.timm.vgg import VGG19Features  # not at import time: timm takes more than a second

    try:
        return VGG19Features()
    except OSError as error:
        raise OSError(
            f"{error}. The topology loss works without VGG19: TopologyLoss(features) takes any callable, "
            f"images N 3 H W -> maps N C h w, such as the encoder of a network at hand"
        ) from error
