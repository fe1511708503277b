"""Guided upsampling: a fine map decides where each pixel is sampled in a coarse map.

Mazzini: "Guided Upsampling Network for Real-Time Semantic Segmentation", arXiv 1807.07466.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._torch import autocast_off, is_channels_last_only, transforms_active
from .conv import ConvNormAct
from .upsampled_conv import conv_of_upsampled


class GuidedUpsample(nn.Module):
    """Bilinear upsampling in which every pixel is sampled at a learned offset.

    A pixel near an edge of the image can thus take its value from the correct side of the edge. The offsets are
    computed from the guide and the upsampled map, as in the 15th-place solution of the TGS Salt challenge. They start
    at zero, where the module equals bilinear upsampling with `align_corners=False`.

    Most of the time goes into 3x3 convolutions at the size of the guide. The first of them, on the upsampled map, is
    `conv_of_upsampled`: the same result with a sixteenth of the multiplications. `hidden_channels` below `in_channels`
    reduces the cost of the others.

    Args:
        in_channels: channels of the coarse map.
        guide_channels: channels of the guide.
        out_channels: channels of the output, by a 1x1 convolution; None keeps `in_channels` without a convolution.
        hidden_channels: channels of the layers that compute the offsets, at least 4; None for `in_channels`.

    Shape:
        N in_channels h w and N guide_channels H W -> N out_channels H W

    Raises:
        ValueError: if there are fewer than 4 hidden channels.

    Example:
        >>> x, guide = torch.rand(2, 8, 13, 13), torch.rand(2, 3, 101, 97)
        >>> y = GuidedUpsample(8, 3)(x, guide)
        >>> torch.allclose(y, F.interpolate(x, size=(101, 97), mode="bilinear", align_corners=False), atol=1e-6)
        True
    """

    def __init__(
        self,
        in_channels: int,
        guide_channels: int,
        *,
        out_channels: int | None = None,
        hidden_channels: int | None = None,
    ) -> None:
        super().__init__()
        hidden = in_channels if hidden_channels is None else hidden_channels
        if hidden < 4:
            raise ValueError(f"hidden_channels (by default in_channels) must be at least 4, got {hidden}")
        narrows = hidden != in_channels
        self.narrow: nn.Module = ConvNormAct(in_channels, hidden, kernel_size=1) if narrows else nn.Identity()
        self.from_map: ConvNormAct = ConvNormAct(hidden, hidden, dilation=2, act=False)
        self.from_guide: ConvNormAct = ConvNormAct(guide_channels, hidden, kernel_size=1, act=False)
        self.offsets: nn.Sequential = nn.Sequential(
            ConvNormAct(hidden, hidden // 2),
            ConvNormAct(hidden // 2, hidden // 4),
            ConvNormAct(hidden // 4, 2, act=False),
        )
        # Before sampling, on far fewer pixels: sampling averages pixels, so the result is the same.
        self.project: nn.Module = (
            nn.Identity() if out_channels is None else ConvNormAct(in_channels, out_channels, kernel_size=1, act=False)
        )
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Set the offsets to zero, so that the module equals bilinear upsampling."""
        # The norm and not the convolution: normalising an all-zero map would make the first gradients explode.
        for parameter in self.offsets[-1].get_submodule("norm").parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:  # noqa: D102
        conv = self.from_map.conv
        up = conv_of_upsampled(
            self.narrow(x), conv.weight, guide.shape[-2:], bias=conv.bias, dilation=conv.dilation[0]
        )  # N hidden H W
        mixed = F.relu(self.from_map.norm(up) + self.from_guide(guide), inplace=True)  # N hidden H W
        offsets = self.offsets(mixed)  # N 2 H W
        return sample_at_offsets(self.project(x), offsets)  # N out H W


def sample_at_offsets(x: Tensor, offsets: Tensor) -> Tensor:
    """Return a map upsampled bilinearly, each pixel sampled at an offset from its position.

    The corners of both maps coincide (`align_corners=False`). Beyond the border the map continues its border values.

    Args:
        x: coarse map N C h w.
        offsets: offsets to the right and down, N 2 H W, in pixels of the result.

    Returns:
        N C H W, in the dtype of `x`.

    Example:
        >>> x = torch.arange(4.0).view(1, 1, 1, 4)
        >>> sample_at_offsets(x, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)).flatten()
        tensor([1., 2., 3., 3.])
    """
    height, width = offsets.shape[-2:]
    # Half precision cannot represent positions to a fraction of a pixel.
    exact = torch.promote_types(x.dtype, torch.float32)
    with autocast_off(x):
        right, down = offsets.to(exact).unbind(1)  # N H W
        column = torch.arange(width, device=x.device, dtype=exact) + 0.5 + right  # N H W
        row = torch.arange(height, device=x.device, dtype=exact)[:, None] + 0.5 + down  # N H W
        if transforms_active():
            return _sample(x.to(exact), row / height, column / width).to(x.dtype)
        # grid_sample takes coordinates from -1 at one border to 1 at the other.
        grid = torch.stack([column / (width / 2) - 1, row / (height / 2) - 1], dim=-1)  # N H W 2
        y = F.grid_sample(x.to(exact), grid, mode="bilinear", padding_mode="border", align_corners=False)  # N C H W
    layout = torch.channels_last if is_channels_last_only(x) else torch.contiguous_format
    return y.to(x.dtype, memory_format=layout)


def _sample(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Sample a map N C h w at fractions of its height and width, N H W each.

    `F.grid_sample` is faster, but has neither forward mode nor a second derivative.
    """
    height, width = x.shape[-2:]
    down = (row * height - 0.5).clamp(0, height - 1)  # N H W
    right = (column * width - 0.5).clamp(0, width - 1)  # N H W
    top, left = (position.detach().floor().long() for position in (down, right))
    bottom, end = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        index = (rows * width + columns).flatten(1)[:, None].expand(-1, x.shape[1], -1)  # N C HW
        return x.flatten(2).gather(2, index).unflatten(2, rows.shape[1:])  # N C H W

    share_down, share_right = (down - top)[:, None], (right - left)[:, None]  # N 1 H W
    above = torch.lerp(at(top, left), at(top, end), share_right)
    return torch.lerp(above, torch.lerp(at(bottom, left), at(bottom, end), share_right), share_down)
