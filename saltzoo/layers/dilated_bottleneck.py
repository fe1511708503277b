"""The bottleneck residual block with dilation, and a stage of such blocks.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", arXiv 1512.03385;
Yu, Koltun: "Multi-Scale Context Aggregation by Dilated Convolutions", arXiv 1511.07122.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_counts, check_flags
from .conv import ConvNormAct


class DilatedBottleneck(nn.Module):
    """Residual block of a narrowing 1x1, a dilated 3x3 and a widening 1x1 convolution; ReLU after the sum.

    Args:
        in_channels: channels in.
        mid_channels: channels of the 3x3 convolution.
        out_channels: channels out.
        stride: stride of the 3x3 convolution.
        dilation: dilation of the 3x3 convolution.
        projection: whether the shortcut is a 1x1 convolution with batch norm; None: only if the channels differ or the
            stride is not 1.

    Shape:
        N in_channels H W -> N out_channels ceil(H / stride) ceil(W / stride)

    Raises:
        ValueError: if `projection` is False and the input does not have the shape of the output.

    Example:
        >>> import torch
        >>> DilatedBottleneck(32, 16, 64, stride=2)(torch.randn(2, 32, 101, 33)).shape
        torch.Size([2, 64, 51, 17])
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        projection: bool | None = None,
    ) -> None:
        super().__init__()
        if projection is not None:
            check_flags(projection=projection)
        same = in_channels == out_channels and stride == 1
        if projection is False and not same:
            raise ValueError(
                f"projection=False cannot add {in_channels} channels to {out_channels} at stride {stride}: "
                f"leave projection at None, or set it to True"
            )
        project = not same if projection is None else projection
        self.narrow: ConvNormAct = ConvNormAct(in_channels, mid_channels, kernel_size=1)
        self.look: ConvNormAct = ConvNormAct(mid_channels, mid_channels, stride=stride, dilation=dilation)
        self.widen: ConvNormAct = ConvNormAct(mid_channels, out_channels, kernel_size=1, act=False)
        self.shortcut: nn.Module = (
            ConvNormAct(in_channels, out_channels, kernel_size=1, stride=stride, act=False)
            if project
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.narrow(x)  # N mid H W
        y = self.look(y)  # N mid H/stride W/stride
        y = self.widen(y)  # N out H/stride W/stride
        return F.relu(y + self.shortcut(x), inplace=True)  # N out H/stride W/stride


def bottleneck_stage(
    in_channels: int,
    mid_channels: int,
    out_channels: int,
    *,
    depth: int = 3,
    stride: int = 1,
    dilation: int = 1,
) -> nn.Sequential:
    """Return `depth` bottlenecks in a row; the first has the stride and always a projection.

    Args:
        in_channels: channels in.
        mid_channels: channels of the 3x3 convolutions.
        out_channels: channels out.
        depth: number of bottlenecks.
        stride: stride of the first bottleneck.
        dilation: dilation of every 3x3 convolution.

    Example:
        >>> len(bottleneck_stage(32, 16, 64, depth=3, stride=2))
        3
    """
    check_counts(depth=depth)
    first = DilatedBottleneck(
        in_channels, mid_channels, out_channels, stride=stride, dilation=dilation, projection=True
    )
    rest = (DilatedBottleneck(out_channels, mid_channels, out_channels, dilation=dilation) for _ in range(depth - 1))
    return nn.Sequential(first, *rest)
