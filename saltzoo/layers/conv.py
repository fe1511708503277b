"""The convolution block that most networks here are built from."""

from __future__ import annotations

from torch import nn

from .._checks import check_counts, check_flags, check_odd
from .norm import PooledBatchNorm


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm and ReLU; with stride 1 it keeps H and W.

    The norm also trains on a single image whose map is a single pixel: see `PooledBatchNorm`.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        kernel_size: kernel size, odd.
        stride: factor by which H and W are reduced, rounded up.
        dilation: distance between the pixels that a filter reads.
        act: whether ReLU follows; False suits a branch that ends in a sum.

    Raises:
        ValueError: if `kernel_size` is even or another number is below 1.

    Shape:
        N in_channels H W -> N out_channels ceil(H / stride) ceil(W / stride)

    Example:
        >>> import torch
        >>> ConvNormAct(8, 16, stride=2)(torch.randn(2, 8, 101, 33)).shape
        torch.Size([2, 16, 51, 17])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels, stride=stride, dilation=dilation)
        check_odd(kernel_size=kernel_size)
        check_flags(act=act)
        padding = dilation * (kernel_size // 2)
        self.conv: nn.Conv2d = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            bias=False,
        )
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu" if act else "linear")
        self.norm: PooledBatchNorm = PooledBatchNorm(out_channels)
        self.act: nn.Module = nn.ReLU(inplace=True) if act else nn.Identity()
