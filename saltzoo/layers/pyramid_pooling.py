"""Pyramid pooling: averages of a map over the cells of several coarse grids.

Zhao, Shi, Qi, Wang, Jia: "Pyramid Scene Parsing Network", arXiv 1612.01105.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_counts
from .._torch import autocast_off, memory_layout
from .conv import ConvNormAct


class PyramidPooling(nn.Module):
    """The map, concatenated with its averages over b x b cells for each b in `bins`, convolved and upsampled.

    Each grid of averages passes through a 1x1 convolution with batch norm and ReLU, and is upsampled bilinearly with
    `align_corners=False`. The cells are those of `nn.AdaptiveAvgPool2d`: they overlap if `bins` does not divide the
    size of the map, and may be more than its pixels. All averages are one matrix product, so the map is read once and
    a graph with free sizes can be exported.

    Args:
        in_channels: C.
        bins: number of cells along each side, for each grid.
        branch_channels: channels of each grid; None for a quarter of C, at least 1.

    Attributes:
        out_channels: C + len(bins) * branch_channels.

    Shape:
        N C H W -> N out_channels H W; the first C channels are the input.

    Raises:
        ValueError: if `bins` is empty or a number is below 1.

    Example:
        >>> PyramidPooling(256)(torch.randn(2, 256, 13, 13)).shape
        torch.Size([2, 512, 13, 13])
    """

    def __init__(
        self, in_channels: int, *, bins: Sequence[int] = (1, 2, 3, 6), branch_channels: int | None = None
    ) -> None:
        super().__init__()
        check_counts(bins=bins)
        branch_channels = max(1, in_channels // 4) if branch_channels is None else branch_channels
        self.bins: tuple[int, ...] = tuple(bins)
        self.out_channels: int = in_channels + len(bins) * branch_channels
        self.branches: nn.ModuleList = nn.ModuleList(
            ConvNormAct(in_channels, branch_channels, kernel_size=1) for _ in bins
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        grids = _averages(x, self.bins).split([bins * bins for bins in self.bins], dim=2)  # N C bins*bins each
        # A map of one pixel has no definite memory format, and torch.cat of mixed formats returns a contiguous tensor:
        # each part is brought to the format of x.
        layout = memory_layout(x)
        maps = [x]
        for branch, bins, grid in zip(self.branches, self.bins, grids, strict=True):
            y = branch(grid.unflatten(2, (bins, bins)))  # N branch bins bins
            y = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)  # N branch H W
            maps.append(y.contiguous(memory_format=layout))
        return torch.cat(maps, dim=1)  # N out H W

    def extra_repr(self) -> str:  # noqa: D102
        return f"bins={self.bins}"


def _averages(x: Tensor, bins: Sequence[int]) -> Tensor:
    """Return the averages of a map N C H W over all cells, N C cells: grid after grid, each row by row."""
    exact = torch.promote_types(x.dtype, torch.float32)
    # For each cell: its index in its grid, and the number of cells along a side of that grid. Computed here and not
    # kept in a buffer: a buffer outside the state dict is lost when a model built on "meta" gets its memory.
    cell = torch.cat([torch.arange(count * count, device=x.device) for count in bins])[:, None]  # cells 1
    count = torch.cat([torch.full((count * count,), count, device=x.device) for count in bins])[:, None]  # cells 1
    rows = _line_averages(x.shape[2], cell // count, count, exact)  # cells H
    columns = _line_averages(x.shape[3], cell % count, count, exact)  # cells W
    matrix = (rows[:, :, None] * columns[:, None, :]).flatten(1).to(x.dtype)  # cells HW
    # Autocast off: it would round a float32 map before it is averaged.
    with autocast_off(x):
        # In this order the result of a channels_last map is channels_last too.
        return torch.bmm(matrix.expand(x.shape[0], -1, -1), x.flatten(2).mT).mT  # N C cells


def _line_averages(size: int, cell: Tensor, count: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the matrix, cells x size, that averages a line over cells.

    Cell i of c covers the pixels from floor(i size / c) to ceil((i + 1) size / c).
    """
    pixel = torch.arange(size, device=cell.device)  # size
    start, stop = cell * size // count, ((cell + 1) * size + count - 1) // count  # cells 1
    inside = (pixel >= start) & (pixel < stop)  # cells size
    return inside.to(dtype) / (stop - start)
