"""Guided upsampling: a fine map says where each pixel takes its value from in the coarse one.

Mazzini: "Guided Upsampling Network for Real-Time Semantic Segmentation", arXiv 1807.07466.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._torch import autocast_off
from .conv import ConvNormAct
from .upsampled_conv import conv_of_upsampled


class GuidedUpsample(nn.Module):
    """Bilinear upsampling in which every pixel looks a learned offset away from where it stands.

    Near an edge of the image a pixel can take its value from its own side of it. The offsets come from the guide
    and the upsampled map together, as the 15th-place solution of the TGS Salt challenge has it. They start at
    zero: then this is bilinear upsampling with `align_corners=False`.

    The work is in 3x3 convolutions at the guide's size. Of these the first, of the upsampled map, is
    `conv_of_upsampled`, which gives what the solution's does for a sixteenth of the multiplications; the second is
    most of what is left. `hidden_channels` below `in_channels` narrows the map before, which saves most of that.

    Args:
        in_channels: channels of the coarse map.
        guide_channels: channels of the guide.
        out_channels: bring the map by a 1x1 convolution to so many channels; None leaves it as it is.
        hidden_channels: channels on the way to the offsets, at least 4; None for `in_channels`.

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
            raise ValueError(f"the offsets need at least 4 hidden channels, got {hidden}: set hidden_channels")
        narrows = hidden != in_channels
        self.narrow = ConvNormAct(in_channels, hidden, kernel_size=1) if narrows else nn.Identity()
        self.from_map = ConvNormAct(hidden, hidden, dilation=2, act=False)
        self.from_guide = ConvNormAct(guide_channels, hidden, kernel_size=1, act=False)
        self.offsets = nn.Sequential(
            ConvNormAct(hidden, hidden // 2),
            ConvNormAct(hidden // 2, hidden // 4),
            ConvNormAct(hidden // 4, 2, act=False),
        )
        # Before the sampling, on far fewer pixels: it takes averages of pixels, so the result is the same.
        self.project = (
            nn.Identity() if out_channels is None else ConvNormAct(in_channels, out_channels, kernel_size=1, act=False)
        )
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Makes the module bilinear upsampling."""
        # The last norm, not its convolution: a norm of nothing but zeros would blow the first gradients up.
        for parameter in self.offsets[-1].get_submodule("norm").parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:  # noqa: D102
        conv = self.from_map.conv
        up = conv_of_upsampled(
            self.narrow(x), conv.weight, guide.shape[-2:], bias=conv.bias, dilation=conv.dilation[0]
        )  # N hidden H W
        mixed = F.relu(self.from_map.norm(up) + self.from_guide(guide), inplace=True)  # N hidden H W
        return sample_at_offsets(self.project(x), self.offsets(mixed))  # N out H W


def sample_at_offsets(x: Tensor, offsets: Tensor) -> Tensor:
    """Bilinear upsampling of a map, each pixel looking an offset away from where it stands.

    The corners of both maps meet (`align_corners=False`), and beyond the border is what is at the border.

    Args:
        x: N C h w.
        offsets: N 2 H W: to the right and down, in pixels of the result.

    Returns:
        N C H W, of the dtype of `x`.

    Example:
        >>> x = torch.arange(4.0).view(1, 1, 1, 4)
        >>> sample_at_offsets(x, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)).flatten()
        tensor([1., 2., 3., 3.])
    """
    height, width = offsets.shape[-2:]
    # Half precision can't hold a place to a fraction of a pixel.
    exact = torch.promote_types(x.dtype, torch.float32)
    with autocast_off(x):
        right, down = offsets.to(exact).unbind(1)  # N H W
        column = torch.arange(width, device=x.device, dtype=exact) + 0.5  # W
        row = torch.arange(height, device=x.device, dtype=exact)[:, None] + 0.5  # H 1
        # grid_sample counts from -1 at one border to 1 at the other.
        grid = torch.stack([(column + right) / (width / 2) - 1, (row + down) / (height / 2) - 1], dim=-1)
        y = F.grid_sample(x.to(exact), grid, mode="bilinear", padding_mode="border", align_corners=False)
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return y.to(x.dtype, memory_format=torch.channels_last if last else torch.contiguous_format)
