"""The U-Net decoder: climb the pyramid, at each step joined by the encoder's map of that size.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv 1505.04597.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ..contracts import FeatureSpec, Size
from ..layers import UnetBlock

MakeBlock = Callable[[int, int, int], nn.Module]


class UnetDecoder(nn.Module):
    """Blocks from the coarsest map upwards, one for each doubling.

    Args:
        spec: what the encoder returns. A reduction that it skips gets a block without a skip.
        channels: channels of the blocks, coarsest first. As many as the encoder halves the image reach full size;
            fewer stop before it.
        make_block: `(in_channels, skip_channels, out_channels)` -> a block that is called with a map, a skip or
            None, and the size to reach. UnetBlock and its like; options by `functools.partial`.
        center: a module for the coarsest map, which keeps its channels and size.
        with_center: whether the (attended) coarsest map is returned too, as the first.

    Attributes:
        channels: channels of the maps that `forward` returns.
        reduction: how many times smaller than the image the last of them is.

    Raises:
        ValueError: if there are more channels than doublings, or one is not positive.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        channels: Sequence[int] = (256, 128, 64, 32, 16),
        *,
        make_block: MakeBlock = UnetBlock,
        center: nn.Module | None = None,
        with_center: bool = False,
    ) -> None:
        super().__init__()
        halvings = spec.coarsest.bit_length() - 1
        if not 1 <= len(channels) <= halvings or min(channels) < 1:
            raise ValueError(
                f"this encoder halves the image {halvings} times, so decoder_channels must be at most {halvings} "
                f"positive numbers, coarsest first; got {tuple(channels)}"
            )
        self.spec = spec
        self.center = center or nn.Identity()
        self.with_center = with_center
        self.reduction = spec.coarsest >> len(channels)
        below = (spec.channels[-1], *channels)
        self.channels = below if with_center else below[1:]
        self.blocks = nn.ModuleList(
            make_block(below[step], spec.channels_at(spec.coarsest >> (step + 1)), out_channels)
            for step, out_channels in enumerate(channels)
        )

    def forward(self, features: Sequence[Tensor], size: Size) -> list[Tensor]:
        """Decodes a pyramid.

        Args:
            features: the encoder's maps, finest first.
            size: H and W of the image.

        Returns:
            One map a block, coarsest first; the last is N channels[-1] H/reduction W/reduction.
        """
        skips = dict(zip(self.spec.reductions, features, strict=True))
        x = self.center(features[-1])
        maps = [x] if self.with_center else []
        for step, block in enumerate(self.blocks):
            reduction = self.spec.coarsest >> (step + 1)
            skip = skips.get(reduction)
            # Never a factor: the skip's own size, so that odd sizes and valid padding meet exactly.
            x = block(x, skip, _reduced(size, reduction) if skip is None else skip.shape[-2:])
            maps.append(x)
        return maps


def _reduced(size: Size, reduction: int) -> tuple[int, int]:
    """H and W after halving, rounded up, down to `reduction`."""
    return (size[0] + reduction - 1) // reduction, (size[1] + reduction - 1) // reduction
