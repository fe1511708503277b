"""The image as the finest feature map of an encoder."""

from __future__ import annotations

from torch import Tensor, nn

from ..contracts import Encoder, FeatureSpec


class InputSkip(nn.Module):
    """Encoder that returns the image before the maps of another encoder, as a skip for the last decoder block.

    Args:
        encoder: encoder whose finest map is smaller than the image.
        in_chans: channels of the image.

    Attributes:
        spec: channels and reductions of the maps, the image first.

    Shape:
        N in_chans H W -> the image, then the maps of `encoder`.

    Raises:
        ValueError: if `encoder` already returns a map at full resolution.
    """

    def __init__(self, encoder: Encoder, *, in_chans: int) -> None:
        super().__init__()
        if encoder.spec.channels_at(1):
            raise ValueError("input_skip must be False, because the encoder already returns a map at full resolution")
        self.encoder = encoder
        self.spec: FeatureSpec = FeatureSpec((in_chans, *encoder.spec.channels), (1, *encoder.spec.reductions))

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        return [x, *self.encoder(x)]
