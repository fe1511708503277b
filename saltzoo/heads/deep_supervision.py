"""Heads that only training needs: logits from inner maps, so that gradients reach these directly.

Lee, Xie, Gallagher, Zhang, Tu: "Deeply-Supervised Nets", arXiv 1409.5185.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..layers import ConvNormAct, PooledBatchNorm


class DeepSupervisionHead(nn.Module):
    """Logits from every decoder map, at the map's size.

    Args:
        channels: channels of the decoder's maps.
        num_classes: logits for each pixel.
        hidden: channels of a hidden layer: 3x3 convolution, ReLU, batch norm, 3x3 convolution, as in the 21st place
            of the TGS Salt challenge. None for a single 1x1 convolution.

    Shape:
        A list of maps N channels[i] h w -> a tuple of N num_classes h w

    Example:
        >>> import torch
        >>> head = DeepSupervisionHead((64, 32), 1)
        >>> [tuple(y.shape) for y in head([torch.randn(2, 64, 7, 7), torch.randn(2, 32, 13, 13)])]
        [(2, 1, 7, 7), (2, 1, 13, 13)]
    """

    def __init__(self, channels: Sequence[int], num_classes: int, *, hidden: int | None = None) -> None:
        super().__init__()
        self.heads: nn.ModuleList = nn.ModuleList(_head(count, num_classes, hidden) for count in channels)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:  # noqa: D102
        return tuple(head(x) for head, x in zip(self.heads, maps, strict=True))


def _head(channels: int, num_classes: int, hidden: int | None) -> nn.Module:
    if hidden is None:
        return nn.Conv2d(channels, num_classes, kernel_size=1)
    return nn.Sequential(
        nn.Conv2d(channels, hidden, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        PooledBatchNorm(hidden),
        nn.Conv2d(hidden, num_classes, kernel_size=3, padding=1),
    )


class AuxiliaryHead(nn.Module):
    """Logits from one stage of the encoder, at the stage's size, as in PSPNet (arXiv 1612.01105).

    PSPNet weights their loss by .4.

    Args:
        in_channels: channels of the stage.
        num_classes: logits for each pixel.
        stage: index of the encoder's map, finest first.
        hidden: channels of the 3x3 convolution before the logits.
        drop_rate: probability with which whole channels are dropped in training.

    Shape:
        The encoder's list of maps -> N num_classes h w

    Example:
        >>> import torch
        >>> AuxiliaryHead(64, 2, stage=1)([torch.randn(2, 32, 26, 26), torch.randn(2, 64, 13, 13)]).shape
        torch.Size([2, 2, 13, 13])
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, stage: int, hidden: int = 16, drop_rate: float = 0.1
    ) -> None:
        super().__init__()
        self.stage = stage
        self.mix: ConvNormAct = ConvNormAct(in_channels, hidden)
        self.dropout: nn.Module = nn.Dropout2d(drop_rate) if drop_rate else nn.Identity()
        self.classify: nn.Conv2d = nn.Conv2d(hidden, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:  # noqa: D102
        return self.classify(self.dropout(self.mix(features[self.stage])))
