"""Pyramid pooling: what the map holds on average in each cell of several coarse grids.

Zhao, Shi, Qi, Wang, Jia: "Pyramid Scene Parsing Network", arXiv 1612.01105.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._torch import autocast_off
from .conv import ConvNormAct


class PyramidPooling(nn.Module):
    """Averages over b x b cells for each b of `bins`, 1x1 convolution, bilinear back, beside the map itself.

    The cells are those of `nn.AdaptiveAvgPool2d`: where they don't divide the map they overlap, and a map may be
    smaller than they are many. All averages are one product with a matrix, so that the map is read once and a
    graph with free sizes can be exported. Maps are brought back with `align_corners=False`.

    Args:
        in_channels: C.
        bins: cells on a side of each grid.
        branch_channels: channels of each grid; None for a quarter of C, at least 1.

    Attributes:
        out_channels: C + len(bins) * branch_channels.

    Shape:
        N C H W -> N out_channels H W; the first C are the map.

    Raises:
        ValueError: if there is no bin, or one below 1.

    Example:
        >>> PyramidPooling(256)(torch.randn(2, 256, 13, 13)).shape
        torch.Size([2, 512, 13, 13])
    """

    def __init__(
        self, in_channels: int, *, bins: Sequence[int] = (1, 2, 3, 6), branch_channels: int | None = None
    ) -> None:
        super().__init__()
        if not bins or min(bins) < 1:
            raise ValueError(f"bins must be one or more numbers of at least 1, such as (1, 2, 3, 6); got {tuple(bins)}")
        branch_channels = max(1, in_channels // 4) if branch_channels is None else branch_channels
        self.bins = tuple(bins)
        self.out_channels = in_channels + len(bins) * branch_channels
        self.branches = nn.ModuleList(ConvNormAct(in_channels, branch_channels, kernel_size=1) for _ in bins)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        grids = _averages(x, self.bins).split([bins * bins for bins in self.bins], dim=2)  # N C bins*bins each
        # Maps of a single pixel forget their layout, and torch.cat keeps none that its parts don't share.
        last = x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        maps = [x]
        for branch, bins, grid in zip(self.branches, self.bins, grids, strict=True):
            y = branch(grid.unflatten(2, (bins, bins)))  # N branch bins bins
            y = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)  # N branch H W
            maps.append(y.contiguous(memory_format=layout))
        return torch.cat(maps, dim=1)  # N C+branches H W

    def extra_repr(self) -> str:  # noqa: D102
        return f"bins={self.bins}"


def _averages(x: Tensor, bins: Sequence[int]) -> Tensor:
    """N C H W -> N C cells: the averages over the cells, row by row, grid after grid."""
    exact = torch.promote_types(x.dtype, torch.float32)
    # Of each cell: its place in its grid, and how many its grid has on a side. Made here, and no buffer: one that
    # is not saved would be lost when a model built on "meta" gets its memory.
    cell = torch.cat([torch.arange(count * count, device=x.device) for count in bins])[:, None]  # cells 1
    count = torch.cat([torch.full((count * count,), count, device=x.device) for count in bins])[:, None]
    rows = _line_averages(x.shape[2], cell // count, count, exact)  # cells H
    columns = _line_averages(x.shape[3], cell % count, count, exact)  # cells W
    matrix = (rows[:, :, None] * columns[:, None, :]).flatten(1).to(x.dtype)  # cells HW
    # In the map's own dtype: under autocast a float32 map would be rounded before it is averaged.
    with autocast_off(x):
        # Cells first: the result is then laid out as channels_last, and a map in it stays in it.
        return torch.bmm(matrix.expand(x.shape[0], -1, -1), x.flatten(2).mT).mT


def _line_averages(size: int, cell: Tensor, count: Tensor, dtype: torch.dtype) -> Tensor:
    """What averages cells of a line of `size`: cell i of c goes from floor(i size / c) to ceil((i + 1) size / c)."""
    pixel = torch.arange(size, device=cell.device)
    start, stop = cell * size // count, ((cell + 1) * size + count - 1) // count  # cells 1
    inside = (pixel >= start) & (pixel < stop)  # cells size
    return inside.to(dtype) / (stop - start)
