"""saltnet: a small U-Net of our own for gray tiles, made for speed.

No convolution works at full resolution: the image is folded to half its size at the entrance (pixel-unshuffle), and
the logits are unfolded at the exit (pixel-shuffle).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..decoders import UnetDecoder
from ..encoders import SaltnetEncoder
from .options import AttentionOptions
from .segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class SaltnetOptions(AttentionOptions):
    """Options of saltnet, besides its heads.

    Attributes:
        channels: of the encoder's stages, at /2, /4, /8, ...
        blocks: residual blocks in each stage.
        decoder_channels: of the decoder's blocks, coarsest first: one fewer than stages.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`, after every stage, in the path.

    Raises:
        ValueError: for a value or a combination that makes no sense.
    """

    channels: Sequence[int] = (32, 64, 128, 192)
    blocks: int = 2
    decoder_channels: Sequence[int] = (64, 48, 32)
    attention: str = "scse"
    hypercolumn: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.channels) < 2:
            raise ValueError(f"channels must be at least two numbers, got {tuple(self.channels)}")
        if len(self.decoder_channels) != len(self.channels) - 1:
            raise ValueError(
                f"decoder_channels must be one fewer than channels, so that the decoder ends at half size: "
                f"got {tuple(self.decoder_channels)} for {tuple(self.channels)}"
            )

    def build(self) -> Segmenter:
        """The network."""
        encoder = SaltnetEncoder(
            self.channels,
            in_chans=self.in_chans,
            blocks=self.blocks,
            attention=self.attention,
            attention_reduction=self.attention_reduction,
        )
        # The coarsest map belongs to the column: the decoder's own are only three.
        decoder = UnetDecoder(encoder.spec, self.decoder_channels, with_center=True)
        return self.wire(encoder, decoder)
