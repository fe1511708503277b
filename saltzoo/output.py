"""SegOutput: what a model returns that says more than a mask."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class SegOutput(NamedTuple):
    """Logits of a model built with deep supervision, an image classifier or an auxiliary head.

    Which of them a model returns is decided when it is built, the same in training and evaluation.

    Attributes:
        logits: N K H W, for each pixel.
        maps: N K h w each, from every decoder map at its own size, coarsest first (deep supervision).
        image: N 1, whether there is any salt in the image.
        auxiliary: N K h w, from a stage of the encoder.
    """

    logits: Tensor
    maps: tuple[Tensor, ...] = ()
    image: Tensor | None = None
    auxiliary: Tensor | None = None
