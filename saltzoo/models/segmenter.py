"""Segmenter: the one wiring of every model, encoder to decoder to head."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from ..contracts import ModelConfig, SegOutput
from ..preprocess import Preprocess

MIN_SIZE = 32


class Segmenter(nn.Module):
    """An encoder, a decoder and a head in a row, and heads beside it that help to train them.

    Args:
        encoder: N C H W -> pyramid of maps, finest first.
        decoder: (pyramid, (H, W)) -> list of maps, coarsest first.
        head: (maps, (H, W), the image's logit or None) -> logits.
        in_chans: C.
        preprocess: how images in 0..1 become this network's input; by default as seismic tiles.
        classifier: the coarsest map -> N 1, whether there is any salt.
        deep_supervision: list of decoder maps -> tuple of logits.
        auxiliary: pyramid -> logits.

    Attributes:
        preprocess: used by `saltzoo.predict` and by training; `forward` takes what it puts out.
        config: set by `create_model`; None for a model wired by hand.
        returns_mask: whether `forward` returns logits alone: decided here, and never by training or evaluation.

    Shape:
        N C H W -> N num_classes H W logits, or a SegOutput if there is one of the last three heads. For any H and W
        of at least 32 that the encoder itself takes: those with windows of a fixed size (maxvit, for one) take fewer.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        *,
        in_chans: int = 1,
        preprocess: Preprocess | None = None,
        classifier: nn.Module | None = None,
        deep_supervision: nn.Module | None = None,
        auxiliary: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if getattr(head, "reads_image", False) and classifier is None:
            raise ValueError(f"this {type(head).__name__} reads the image's logit: give a classifier that makes it")
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.classifier = classifier
        self.deep_supervision = deep_supervision
        self.auxiliary = auxiliary
        self.in_chans = in_chans
        self.preprocess = preprocess or Preprocess.gray(in_chans)
        self.config: ModelConfig | None = None
        self.returns_mask = classifier is None and deep_supervision is None and auxiliary is None

    def forward(self, x: Tensor) -> Tensor | SegOutput:
        """Logits of a prepared batch.

        Raises:
            ValueError: if the batch is not N C H W with this model's C and H, W of at least 32.
        """
        _check_input(x, self.in_chans)
        size = x.shape[-2:]
        features = self.encoder(x)  # N c_i H/r_i W/r_i
        maps = self.decoder(features, size)  # N d_i ..., the last the finest
        image = self.classifier(features[-1]) if self.classifier is not None else None  # N 1
        logits = self.head(maps, size, image)  # N num_classes H W
        if self.returns_mask:
            return logits
        return SegOutput(
            logits,
            maps=self.deep_supervision(maps) if self.deep_supervision is not None else (),
            image=image,
            auxiliary=self.auxiliary(features) if self.auxiliary is not None else None,
        )

    def mask_only(self) -> Segmenter:
        """The same network without what only training needs: `forward` returns logits alone.

        Deep supervision and auxiliary heads are dropped, and a classifier that the mask's head does not read. What
        stays is shared with this model, not copied.
        """
        if self.returns_mask:
            return self
        plain = Segmenter(
            self.encoder,
            self.decoder,
            self.head,
            in_chans=self.in_chans,
            preprocess=self.preprocess,
            classifier=self.classifier if getattr(self.head, "reads_image", False) else None,
        )
        plain.returns_mask = True
        plain.training = self.training
        if self.config is not None:
            plain.config = replace(self.config, mask_only=True)
        return plain


def _check_input(x: Tensor, in_chans: int) -> None:
    if x.ndim != 4 or x.shape[1] != in_chans:
        raise ValueError(
            f"expected a batch N {in_chans} H W, got {tuple(x.shape)}; "
            f"gray tiles (N, H, W) become one with x[:, None], or use saltzoo.predict"
        )
    if x.shape[2] < MIN_SIZE or x.shape[3] < MIN_SIZE:
        raise ValueError(f"images must be at least {MIN_SIZE} x {MIN_SIZE}, got {x.shape[2]} x {x.shape[3]}: pad them")
