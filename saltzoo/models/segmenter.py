"""Segmenter: the one wiring of every model, encoder to decoder to head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..preprocess import Preprocess

MIN_SIZE = 32


@dataclass(frozen=True)
class ModelConfig:
    """What `create_model` needs to build a model again, without its weights.

    Attributes:
        architecture: the name in the registry.
        model_args: every option, with its value.
    """

    architecture: str
    model_args: dict[str, Any]


class Segmenter(nn.Module):
    """An encoder, a decoder and a head in a row.

    Args:
        encoder: N C H W -> pyramid of maps, finest first; with a `spec`.
        decoder: (pyramid, (H, W)) -> list of maps, coarsest first.
        head: list of maps -> logits.
        in_chans: C.
        preprocess: how images in 0..1 become this network's input; by default as seismic tiles.

    Attributes:
        preprocess: used by `saltzoo.predict` and by training; `forward` takes what it puts out.
        config: set by `create_model`; None for a model wired by hand.

    Shape:
        N C H W -> N num_classes H W logits, for any H and W of at least 32 that the encoder itself takes: those
        with windows of a fixed size (maxvit, for one) take fewer.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        *,
        in_chans: int = 1,
        preprocess: Preprocess | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.in_chans = in_chans
        self.preprocess = preprocess or Preprocess.gray(in_chans)
        self.config: ModelConfig | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a prepared batch.

        Raises:
            ValueError: if the batch is not N C H W with this model's C and H, W of at least 32.
        """
        _check_input(x, self.in_chans)
        features = self.encoder(x)  # N c_i H/r_i W/r_i
        maps = self.decoder(features, x.shape[-2:])  # N d_i ..., the last at H W
        return self.head(maps)  # N num_classes H W


def _check_input(x: Tensor, in_chans: int) -> None:
    if x.ndim != 4 or x.shape[1] != in_chans:
        raise ValueError(
            f"expected a batch N {in_chans} H W, got {tuple(x.shape)}; "
            f"gray tiles (N, H, W) become one with x[:, None], or use saltzoo.predict"
        )
    if x.shape[2] < MIN_SIZE or x.shape[3] < MIN_SIZE:
        raise ValueError(f"images must be at least {MIN_SIZE} x {MIN_SIZE}, got {x.shape[2]} x {x.shape[3]}: pad them")
