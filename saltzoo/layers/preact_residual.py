"""Residual blocks with pre-activation.

He, Zhang, Ren, Sun: "Identity Mappings in Deep Residual Networks", arXiv 1603.05027.
"""

from __future__ import annotations

from torch import Tensor, nn

from .._checks import check_counts, check_flags
from .norm import PooledBatchNorm


class PreActResidual(nn.Module):
    """Residual block of batch norm, activation and 3x3 convolution, twice; the shortcut is the input.

    Args:
        channels: channels in and out.
        slope: slope of the activation below zero; 0 is ReLU, other values leaky ReLU.
        bias: whether the convolutions have biases.

    Shape:
        N channels H W -> N channels H W

    Example:
        >>> import torch
        >>> PreActResidual(8, slope=0.1)(torch.randn(2, 8, 5, 7)).shape
        torch.Size([2, 8, 5, 7])
    """

    def __init__(self, channels: int, *, slope: float = 0.0, bias: bool = False) -> None:
        super().__init__()
        self.norm1: PooledBatchNorm = PooledBatchNorm(channels)
        self.act1: nn.Module = _activation(slope)
        self.conv1: nn.Conv2d = _conv(channels, channels, slope=slope, bias=bias)
        self.norm2: PooledBatchNorm = PooledBatchNorm(channels)
        self.act2: nn.Module = _activation(slope)
        self.conv2: nn.Conv2d = _conv(channels, channels, slope=slope, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.conv1(self.act1(self.norm1(x)))  # N C H W
        y = self.conv2(self.act2(self.norm2(y)))  # N C H W
        return x + y


class PreActStage(nn.Sequential):
    """A 3x3 convolution to `channels`, PreActResidual blocks, and a final batch norm and activation.

    Args:
        in_channels: channels in.
        channels: channels out.
        blocks: number of residual blocks.
        slope: slope of the activations below zero; 0 is ReLU, other values leaky ReLU.
        bias: whether the convolutions have biases.

    Shape:
        N in_channels H W -> N channels H W

    Example:
        >>> import torch
        >>> PreActStage(1, 8)(torch.randn(2, 1, 5, 7)).shape
        torch.Size([2, 8, 5, 7])
    """

    def __init__(
        self, in_channels: int, channels: int, *, blocks: int = 2, slope: float = 0.0, bias: bool = False
    ) -> None:
        super().__init__()
        # No norm and activation before this convolution: the previous stage ends in both.
        self.conv: nn.Conv2d = _conv(in_channels, channels, slope=slope, bias=bias)
        self.blocks: nn.Sequential = nn.Sequential(
            *(PreActResidual(channels, slope=slope, bias=bias) for _ in range(blocks))
        )
        self.norm: PooledBatchNorm = PooledBatchNorm(channels)
        self.act: nn.Module = _activation(slope)


def _conv(in_channels: int, out_channels: int, *, slope: float, bias: bool) -> nn.Conv2d:
    check_counts(in_channels=in_channels, out_channels=out_channels)
    check_flags(bias=bias)
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=bias)
    nn.init.kaiming_normal_(conv.weight, a=slope, nonlinearity="leaky_relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _activation(slope: float) -> nn.Module:
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
