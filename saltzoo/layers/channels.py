"""Channels appended to a map: pixel coordinates, and one number for each image.

Liu, Lehman, Molino, Petroski Such, Frank, Sergeev, Yosinski: "An Intriguing Failing of Convolutional Neural
Networks and the CoordConv Solution", arXiv 1807.03247.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._checks import check_flags
from .._torch import memory_layout
from ._gates import check_map


class CoordChannels(nn.Module):
    """Layer that appends the x and y of every pixel, from -1 at the first column or row to 1 at the last.

    In a map of one column or one row that coordinate is 0.

    Args:
        radius: whether to append the distance from the centre too, `sqrt(x**2 + y**2)`.

    Shape:
        N C H W -> N C+2 H W, or N C+3 H W with the radius; x before y. Dtype, device and memory format are kept.

    Raises:
        ValueError: from `forward`, if the input is not N C H W or not floating-point.

    Example:
        >>> CoordChannels()(torch.zeros(1, 1, 2, 3))[0, 1:]
        tensor([[[-1.,  0.,  1.],
                 [-1.,  0.,  1.]],
        <BLANKLINE>
                [[-1., -1., -1.],
                 [ 1.,  1.,  1.]]])
    """

    def __init__(self, *, radius: bool = False) -> None:
        super().__init__()
        check_flags(radius=radius)
        self.radius = radius

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        _check_floating(x)
        size = x.shape[2:]
        column = _coordinates(size[1], x).expand(size)  # H W
        row = _coordinates(size[0], x)[:, None].expand(size)  # H W
        planes = [column, row]
        if self.radius:
            planes.append(torch.hypot(column, row))
        return _append(x, torch.stack(planes).to(x.dtype))

    def extra_repr(self) -> str:  # noqa: D102
        return f"radius={self.radius}"


class ScalarChannel(nn.Module):
    """`append_scalar` as a module.

    Shape:
        N C H W and N or N 1 -> N C+1 H W

    Example:
        >>> depth = torch.tensor([0.25, 0.5])
        >>> ScalarChannel()(torch.zeros(2, 3, 4, 4), depth)[:, 3, 0, 0]
        tensor([0.2500, 0.5000])
    """

    def forward(self, x: Tensor, scalar: Tensor) -> Tensor:  # noqa: D102
        return append_scalar(x, scalar)


def append_scalar(x: Tensor, scalar: Tensor) -> Tensor:
    """Append a constant channel that holds one number of each image, such as its depth.

    Args:
        x: map N C H W.
        scalar: one number for each image, N or N 1; converted to the dtype and device of `x`.

    Returns:
        N C+1 H W, in the memory format of `x`.

    Raises:
        ValueError: if `x` is not a floating-point map N C H W, or `scalar` does not hold one number for each image.

    Example:
        >>> append_scalar(torch.zeros(1, 1, 1, 2), torch.tensor([7.0]))
        tensor([[[[0., 0.]],
        <BLANKLINE>
                 [[7., 7.]]]])
    """
    _check_floating(x)
    if scalar.ndim not in (1, 2) or scalar.shape[0] != x.shape[0] or scalar.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"expected one number for each of {x.shape[0]} images, of shape ({x.shape[0]},) or ({x.shape[0]}, 1), "
            f"got {tuple(scalar.shape)}"
        )
    return _append(x, scalar.to(x).reshape(-1, 1, 1, 1))


def _check_floating(x: Tensor) -> None:
    check_map(x)
    if not x.is_floating_point():
        raise ValueError(f"expected a floating-point map, got {x.dtype}: scale it first, as x.float() / 255")


def _coordinates(count: int, like: Tensor) -> Tensor:
    """Return `count` numbers from -1 to 1, or 0 if `count` is 1, on the device of `like`, in float32 or wider."""
    exact = torch.promote_types(like.dtype, torch.float32)
    steps = torch.arange(count, dtype=exact, device=like.device)
    # torch.linspace is not symmetric to the last bit. sym_max, and not max, keeps exported sizes free.
    gaps: Any = torch.sym_max(count - 1, 1)
    return (2 * steps - (count - 1)) / gaps


def _append(x: Tensor, planes: Tensor) -> Tensor:
    """Return the map with planes appended that broadcast to N k H W."""
    planes = planes.expand(x.shape[0], -1, *x.shape[2:])
    if memory_layout(x) == torch.channels_last:
        # torch.cat of mixed memory formats returns a contiguous tensor.
        planes = planes.contiguous(memory_format=torch.channels_last)
    return torch.cat([x, planes], dim=1)
