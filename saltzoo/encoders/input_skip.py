"""The image itself as the finest map of the pyramid."""

from __future__ import annotations

from torch import Tensor, nn

from ..contracts import Encoder, FeatureSpec


class InputSkip(nn.Module):
    """An encoder whose pyramid begins with the image, so that the decoder's last block sees it.

    Args:
        encoder: with a `spec` whose finest map is smaller than the image.
        in_chans: channels of the image.

    Attributes:
        spec: the FeatureSpec of what `forward` returns.

    Raises:
        ValueError: if the encoder gives a map of full size already.
    """

    def __init__(self, encoder: Encoder, *, in_chans: int) -> None:
        super().__init__()
        spec = encoder.spec
        if spec.channels_at(1):
            raise ValueError("this encoder gives a map of full size already: drop input_skip=True")
        self.encoder = encoder
        self.spec = FeatureSpec((in_chans, *spec.channels), (1, *spec.reductions))

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        return [x, *self.encoder(x)]
