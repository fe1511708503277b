"""Convolution of a bilinearly upsampled map, computed without the upsampled map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .._torch import is_channels_last_only
from ..contracts import Size


def conv_of_upsampled(
    x: Tensor, weight: Tensor, size: Size, *, bias: Tensor | None = None, dilation: int = 1
) -> Tensor:
    """Return `F.conv2d` with "same" padding of a map upsampled by `F.interpolate`, several times faster.

    Both operations are linear, and each tap of the filter is a 1x1 convolution of a shifted map. A 1x1 convolution
    and resampling commute. Let U be the matrices that upsample a column and a row, and S_t those that shift by t times
    the dilation and fill with zeros:

        conv(U x U^T) = sum over taps t, s of  (S_t U) (weight[t, s] x) (S_s U)^T

    All 1x1 convolutions are one product on the small map; the sums over t and s are products with the concatenated
    matrices (S_t U). For 128 channels from 13 x 13 to 101 x 101 this takes a sixteenth of the multiplications. It is
    faster if the result has far more pixels than the map. Any sizes are possible, smaller ones too.

    The order of columns and rows depends on the memory format only, so that a graph with free sizes can be exported;
    for square maps both orders cost the same. Under autocast all products run in the autocast dtype, as a convolution
    does. In bfloat16 the error is 1.5 times that of upsampling first.

    Args:
        x: map N C h w.
        weight: filter O C kh kw as in `F.conv2d`; kh and kw are odd.
        size: H and W to upsample to, bilinearly with `align_corners=False`.
        bias: bias O, or None.
        dilation: distance between taps, in pixels of the upsampled map.

    Returns:
        N O H W, in channels_last if `x` is, else contiguous.

    Raises:
        ValueError: if kh or kw is even.

    Example:
        >>> x, weight = torch.randn(2, 8, 13, 13), torch.randn(4, 8, 3, 3)
        >>> up = F.interpolate(x, size=(101, 97), mode="bilinear", align_corners=False)
        >>> want = F.conv2d(up, weight, padding=2, dilation=2)
        >>> torch.allclose(conv_of_upsampled(x, weight, (101, 97), dilation=2), want, atol=1e-4)
        True
    """
    channels, _, down, right = weight.shape
    if down % 2 == 0 or right % 2 == 0:
        raise ValueError(f"the filter must have an odd number of taps along each side, got {down} x {right}")
    z = F.conv2d(x, weight.permute(2, 3, 0, 1).flatten(0, 2)[:, :, None, None])  # N taps*O h w
    z = z.unflatten(1, (down, right, channels))  # N t s O h w
    exact = torch.promote_types(x.dtype, torch.float32)
    # Converted here to the dtype of the products: autocast would convert, and so copy, the expanded matrices.
    rows = _resample_taps(x.shape[2], size[0], down, dilation, x.device, exact).to(z.dtype)  # H th
    columns = _resample_taps(x.shape[3], size[1], right, dilation, x.device, exact).to(z.dtype)  # W sw
    y = (_channels_last if is_channels_last_only(x) else _contiguous)(z, rows, columns)
    return y if bias is None else y + bias.to(y.dtype)[:, None, None]


def _contiguous(z: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Resample N t s O h w along rows, then along columns, and sum over taps, to N O H W."""
    count, _, _, channels, _, _ = z.shape
    # Concatenated and not permuted and flattened, which would restrict the sizes of an exported graph.
    z = torch.cat([torch.cat(part.unbind(1), dim=3) for part in z.unbind(1)], dim=2)  # N O th sw
    y = F.linear(z, columns).flatten(0, 1)  # NO th W
    # bmm and not matmul, which would copy the expanded matrices.
    y = torch.bmm(rows.expand(count * channels, -1, -1), y)  # NO H W
    return y.unflatten(0, (count, channels))


def _channels_last(z: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Resample N t s O h w along columns, then along rows, and sum over taps, to N O H W."""
    count, _, _, channels, _, _ = z.shape
    z = z.permute(0, 1, 2, 4, 5, 3)  # N t s h w O
    z = torch.cat([torch.cat(part.unbind(1), dim=2) for part in z.unbind(1)], dim=1)  # N th sw O
    y = torch.bmm(rows.expand(count, -1, -1), z.flatten(2))  # N H swO
    y = y.unflatten(2, (columns.shape[1], channels)).flatten(0, 1)  # NH sw O
    y = torch.bmm(columns.expand(count * rows.shape[0], -1, -1), y)  # NH W O
    return y.unflatten(0, (count, rows.shape[0])).permute(0, 3, 1, 2)


def _resample_taps(
    size: int, new_size: int, taps: int, dilation: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the matrices (S_t U) of all taps side by side, new_size x taps*size.

    The row of a pixel holds, for each tap of a filter centred on it, the weights of the pixels of the original line;
    zeros for taps beyond the border.
    """
    pixel = torch.arange(new_size, device=device, dtype=dtype)[:, None]
    position = ((pixel + 0.5) * (size / new_size) - 0.5).clamp(0, size - 1)  # new_size 1
    share = (1 - (position - torch.arange(size, device=device, dtype=dtype)).abs()).clamp(min=0)  # new_size size
    reach = dilation * (taps // 2)
    padded = F.pad(share, (0, 0, reach, reach))
    return torch.cat([padded.narrow(0, tap * dilation, new_size) for tap in range(taps)], dim=1)
