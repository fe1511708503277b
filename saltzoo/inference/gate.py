"""Empty the masks of images that a classifier takes to be without salt."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from .._checks import check_fraction
from ..contracts import SegmentationModel, SegOutput
from ..preprocess import Preprocess
from ..zoo.members import checked_model, tile_size_of

NO_SALT = -30.0
"""Logit of the pixels of a closed image: a probability of 1e-13, and finite, so that averages and exports work."""


def gate(logits: Tensor, image: Tensor, *, threshold: float = 0.5) -> Tensor:
    """Return logits with no salt in images whose classifier finds none.

    Args:
        logits: logits of each pixel, N 1 H W.
        image: logit of whether the image holds any salt, N 1, as in `SegOutput.image`.
        threshold: probability of salt in the image, up to which its pixels are emptied; 0 empties none.

    Example:
        >>> import torch
        >>> gate(torch.full((2, 1, 1, 1), 3.0), torch.tensor([[-1.0], [1.0]])).flatten()
        tensor([-30.,   3.])
    """
    closed = image.sigmoid() <= threshold  # N 1
    return logits.masked_fill(closed[..., None, None], NO_SALT)


class Gated(nn.Module):
    """A model whose masks are empty where its own classifier finds no salt in the image.

    It is a model itself, for predict, augmentation, tiling, ensembles and export. For a picture larger than a tile,
    each tile is gated by itself.

    Args:
        model: model of one class with a classification head, so that its output has `SegOutput.image`. It is not
            copied, and is switched to evaluation mode.
        threshold: probability of salt in the image, up to which its pixels are emptied.

    Attributes:
        preprocess: that of the model.
        tile_size: that of the model.

    Raises:
        TypeError: if the model has no preprocess.
        ValueError: if `threshold` is not in 0..1.

    Shape:
        N C H W -> N 1 H W logits.

    Example:
        >>> import numpy as np, saltzoo
        >>> model = saltzoo.create_model("unet", encoder="resnet18", classifier="beside")
        >>> saltzoo.predict(Gated(model), np.zeros((2, 101, 101), dtype=np.uint8)).shape
        (2, 101, 101)
    """

    def __init__(self, model: SegmentationModel, *, threshold: float = 0.5) -> None:
        super().__init__()
        check_fraction(threshold=threshold)
        self.model: nn.Module = checked_model(model, "model must be a saltzoo model")
        self.gate_threshold = threshold
        self.eval()

    @property
    def preprocess(self) -> Preprocess:
        """How images become the network's input."""
        return cast(SegmentationModel, self.model).preprocess

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of the tiles that the model was trained on."""
        return tile_size_of(self.model)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated logits of a prepared batch.

        Raises:
            ValueError: if the model has no classification head, or several classes.
        """
        output: Tensor | SegOutput = self.model(x)
        if not isinstance(output, SegOutput) or output.image is None:
            raise ValueError(
                "a gated model must have a classification head that it returns, and this one returns no logit of the "
                'image: build it with classifier="fused" or load it without mask_only'
            )
        if output.logits.shape[1] != 1:
            raise ValueError(f"a gated model must have one class, got {output.logits.shape[1]}")
        return gate(output.logits, output.image, threshold=self.gate_threshold)
