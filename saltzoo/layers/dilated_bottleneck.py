"""The bottleneck residual block with dilation, and stages of it.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", arXiv 1512.03385;
Yu, Koltun: "Multi-Scale Context Aggregation by Dilated Convolutions", arXiv 1511.07122.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_counts
from .conv import ConvNormAct


class DilatedBottleneck(nn.Module):
    """Narrow by 1x1, look around by 3x3, widen by 1x1, and add the input.

    Args:
        in_channels: channels in.
        mid_channels: channels of the 3x3 convolution.
        out_channels: channels out.
        stride: of the 3x3 convolution: how many times smaller H and W become, rounded up.
        dilation: of the 3x3 convolution.
        projection: bring the input by a 1x1 convolution to what it is added to. None: only where its channels
            or its size would not fit.

    Shape:
        N in_channels H W -> N out_channels ceil(H / stride) ceil(W / stride)

    Raises:
        ValueError: if the input is to be added as it is and does not fit.

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
        fits = in_channels == out_channels and stride == 1
        if projection is False and not fits:
            raise ValueError(
                f"{in_channels} channels can't be added to {out_channels} at a stride of {stride}: "
                f"leave projection at None, or set it to True"
            )
        project = not fits if projection is None else projection
        self.narrow = ConvNormAct(in_channels, mid_channels, kernel_size=1)
        self.look = ConvNormAct(mid_channels, mid_channels, stride=stride, dilation=dilation)
        self.widen = ConvNormAct(mid_channels, out_channels, kernel_size=1, act=False)
        self.shortcut = (
            ConvNormAct(in_channels, out_channels, kernel_size=1, stride=stride, act=False)
            if project
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.narrow(x)  # N mid H W
        y = self.look(y)  # N mid H/stride W/stride
        y = self.widen(y)  # N out H/stride W/stride
        return F.relu(y + self.shortcut(x), inplace=True)


def bottleneck_stage(
    in_channels: int,
    mid_channels: int,
    out_channels: int,
    *,
    depth: int = 3,
    stride: int = 1,
    dilation: int = 1,
) -> nn.Sequential:
    """`depth` bottlenecks in a row; the first brings the stride, and always a projection, as its paper's option B.

    Args:
        in_channels: channels in.
        mid_channels: channels of the 3x3 convolutions.
        out_channels: channels out.
        depth: how many.
        stride: of the first.
        dilation: of all.

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
