"""The U-Net decoder: from the coarsest map upwards, joined at each step with the encoder's map of that size.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv 1505.04597.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .._checks import check_flags
from ..contracts import FeatureSpec, Size
from ..layers import UnetBlock

MakeBlock = Callable[[int, int, int], nn.Module]


class UnetDecoder(nn.Module):
    """A block for each doubling, from the coarsest map upwards.

    Args:
        spec: FeatureSpec of the encoder. Where it has no map of a size, the block gets no skip.
        channels: channels of the blocks, coarsest first. One for each halving of the encoder reaches full size; with
            fewer the last map is smaller than the image.
        make_block: `(in_channels, skip_channels, out_channels)` -> a block, which is called with a map, a skip or
            None, and the size to reach; for example UnetBlock. Set its options by `functools.partial`.
        center: module for the coarsest map; it keeps channels and size.
        with_center: whether to return the coarsest map, after `center`, as the first.
        full_size: whether the last map must have the size of the image.

    Attributes:
        channels: channels of the maps that `forward` returns.
        reduction: factor by which the last map is smaller than the image.

    Raises:
        ValueError: if there are more channels than halvings, or fewer with `full_size`, or one is below 1.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        channels: Sequence[int] = (256, 128, 64, 32, 16),
        *,
        make_block: MakeBlock = UnetBlock,
        center: nn.Module | None = None,
        with_center: bool = False,
        full_size: bool = False,
    ) -> None:
        super().__init__()
        check_flags(with_center=with_center)
        halvings = spec.coarsest.bit_length() - 1
        fewest = halvings if full_size else 1
        if not fewest <= len(channels) <= halvings or min(channels) < 1:
            raise ValueError(
                f"decoder_channels must be {'' if full_size else 'at most '}{halvings} positive numbers, coarsest "
                f"first, as the encoder halves the image {halvings} times; got {tuple(channels)}"
            )
        self.spec = spec
        self.center: nn.Module = center or nn.Identity()
        self.with_center = with_center
        self.reduction: int = spec.coarsest >> len(channels)
        below = (spec.channels[-1], *channels)
        self.channels: tuple[int, ...] = below if with_center else below[1:]
        self.blocks: nn.ModuleList = nn.ModuleList(
            make_block(below[step], spec.channels_at(spec.coarsest >> (step + 1)), out_channels)
            for step, out_channels in enumerate(channels)
        )

    def forward(self, features: Sequence[Tensor], size: Size) -> list[Tensor]:
        """Return the map after each block, coarsest first; the last is N channels[-1] H/reduction W/reduction.

        Args:
            features: the encoder's maps, finest first.
            size: H and W of the image.
        """
        skips = dict(zip(self.spec.reductions, features, strict=True))
        x = self.center(features[-1])
        maps = [x] if self.with_center else []
        for step, block in enumerate(self.blocks):
            reduction = self.spec.coarsest >> (step + 1)
            skip = skips.get(reduction)
            # The skip's size and never a factor, so that odd sizes and valid padding meet exactly.
            x = block(x, skip, _reduced(size, reduction) if skip is None else skip.shape[-2:])
            maps.append(x)
        return maps


def _reduced(size: Size, reduction: int) -> tuple[int, int]:
    """Return H and W after the halvings that make up `reduction`, each rounded up."""
    return (size[0] + reduction - 1) // reduction, (size[1] + reduction - 1) // reduction
