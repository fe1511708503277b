"""Edges of masks, and the distance from each pixel to them."""

import torch
from torch import Tensor

FAR = 1e9
"""Squared distance to an edge in an image that has none; more than any image is wide."""


def edges(masks: Tensor) -> Tensor:
    """Return the edge pixels of bool masks (..., H, W): those with one of four neighbours outside, or at the border."""
    padded = torch.nn.functional.pad(masks, (1, 1, 1, 1))
    inner = padded[..., :-2, 1:-1] & padded[..., 2:, 1:-1] & padded[..., 1:-1, :-2] & padded[..., 1:-1, 2:]
    return masks & ~inner


def distances_to(edge: Tensor) -> Tensor:
    """Return the Euclidean distance of each pixel to the nearest edge pixel, float32; (M, H, W) -> (M, H, W)."""
    height, width = edge.shape[-2:]
    rows = torch.arange(height, device=edge.device)[:, None].expand(height, width)
    above = torch.where(edge, rows, -(2**20)).cummax(-2).values
    below = torch.where(edge, rows, 2**20).flip(-2).cummin(-2).values.flip(-2)
    squares = torch.minimum(rows - above, below - rows).float().square().clamp(max=FAR)  # within each column
    columns = torch.arange(width, device=edge.device, dtype=torch.float32)
    # One column of pixels after the other; all pairs of columns at once would need W times the memory.
    nearest = [(squares + (columns - x).square()).amin(-1) for x in range(width)]
    return torch.stack(nearest, -1).sqrt()


def mean_and_quantile(distances: Tensor, where: Tensor, quantile: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return sum, quantile and number of the distances at some pixels, (M,) each; (M, H, W) for both arguments.

    The quantile lies between the two nearest ranks in proportion, as in torch.quantile. It is arbitrary where there is
    no pixel.
    """
    values, counts = distances.where(where, torch.inf).flatten(1), where.flatten(1).sum(1)
    ranked = values.sort(1).values
    rank = quantile * (counts - 1).clamp(min=0).to(torch.float32)
    low = rank.floor().long()
    high = torch.minimum(low + 1, (counts - 1).clamp(min=0))
    first, last = (ranked.gather(1, index[:, None])[:, 0] for index in (low, high))
    between = first + (last - first) * (rank - low)
    return distances.masked_fill(~where, 0).flatten(1).sum(1), between, counts
