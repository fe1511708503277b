"""Channels appended to a map: where each pixel is, and what is known of the whole image.

Liu, Lehman, Molino, Petroski Such, Frank, Sergeev, Yosinski: "An Intriguing Failing of Convolutional Neural
Networks and the CoordConv Solution", arXiv 1807.03247.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .gates import check_map


class CoordChannels(nn.Module):
    """Appends each pixel's x and y, from -1 at the first column and row to 1 at the last.

    A single column or row is the middle: 0.

    Args:
        radius: append the distance from the middle too, `sqrt(x**2 + y**2)`.

    Shape:
        N C H W -> N C+2 H W, or C+3 with the radius; x comes before y. Dtype, device and memory format are kept.

    Raises:
        ValueError: if the input is not N C H W, or not of floating point.

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
        self.radius = radius

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        _check_floating(x)
        size = x.shape[2:]
        column = _positions(size[1], x).expand(size)  # H W
        row = _positions(size[0], x)[:, None].expand(size)  # H W
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
    """Appends a channel that holds, all over an image, one number of that image: its depth, say.

    Args:
        x: a map N C H W.
        scalar: N or N 1; brought to the dtype and device of x.

    Returns:
        N C+1 H W, in the memory format of x.

    Raises:
        ValueError: if x is not a map of floating point, or there is not one number an image.

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
        raise ValueError(f"expected a map of floating point, got {x.dtype}: scale it first, as x.float() / 255")


def _positions(count: int, like: Tensor) -> Tensor:
    """`count` numbers from -1 to 1, or a single 0, on the device of `like` and in float32 at least."""
    exact = torch.promote_types(like.dtype, torch.float32)
    steps = torch.arange(count, dtype=exact, device=like.device)
    # Symmetric to the last bit, which a linspace is not; and sym_max, for sizes that an export leaves free.
    gaps: Any = torch.sym_max(count - 1, 1)
    return (2 * steps - (count - 1)) / gaps


def _append(x: Tensor, planes: Tensor) -> Tensor:
    """Appends planes that broadcast to N k H W."""
    planes = planes.expand(x.shape[0], -1, *x.shape[2:])
    if x.is_contiguous(memory_format=torch.channels_last):
        # Of mixed memory formats, cat makes NCHW.
        planes = planes.contiguous(memory_format=torch.channels_last)
    return torch.cat([x, planes], dim=1)
