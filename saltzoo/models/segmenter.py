"""Segmenter: the wiring of every network, encoder to decoder to head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .._torch.recompute import recomputed
from ..contracts import TILE_SIZE, Decoder, Encoder, Head, ModelConfig, SegOutput
from ..preprocess import Preprocess

MIN_SIZE = 32


class Segmenter(nn.Module):
    """An encoder, a decoder and a head in a row, and heads beside them that help to train them.

    Args:
        encoder: N C H W -> maps, finest first.
        decoder: (the encoder's maps, (H, W)) -> maps, coarsest first.
        head: (the decoder's maps, (H, W), the image's logit or None) -> logits.
        in_chans: C; None for that of `preprocess`, or 1 without one.
        preprocess: how images in 0..1 become the network's input; None for the statistics of seismic tiles.
        classifier: coarsest map -> N 1, whether there is any salt.
        deep_supervision: the decoder's maps -> tuple of logits.
        auxiliary: the encoder's maps -> logits.

    Attributes:
        preprocess: used by `saltzoo.predict` and by training; `forward` takes its output. It can be replaced, for a
            network that reads a scalar by one with a scalar.
        config: set by `create_model`; None for a model wired by hand.
        threshold: probability above which a pixel counts as salt; saved with the weights.
        min_size: number of pixels below which a patch of salt is to be removed; saved with the weights.
        tile_size: height and width of the tiles that the weights were trained on; saved with them.
        grad_checkpointing: see `set_grad_checkpointing`; not saved.
        reads_scalar: whether the network was built for a preprocess with a scalar.
        returns_mask: whether `forward` returns logits alone. It is decided here, never by training or evaluation.

    Raises:
        TypeError: if encoder, decoder or head is not a torch module.
        ValueError: if the head reads the image's logit and there is no classifier, or `in_chans` is not that of
            `preprocess`.

    Shape:
        N C H W -> N num_classes H W logits, or a SegOutput if there is one of the last three heads. H and W are at
        least 32; encoders made for one size of images (coatnet, for one) take only that.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        head: Head,
        *,
        in_chans: int | None = None,
        preprocess: Preprocess | None = None,
        classifier: nn.Module | None = None,
        deep_supervision: nn.Module | None = None,
        auxiliary: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not (isinstance(encoder, nn.Module) and isinstance(decoder, nn.Module) and isinstance(head, nn.Module)):
            kinds = ", ".join(type(part).__name__ for part in (encoder, decoder, head))
            raise TypeError(f"encoder, decoder and head must be torch modules, got {kinds}")
        if head.reads_image and classifier is None:
            raise ValueError(f"this {type(head).__name__} reads the image's logit: give a classifier that makes it")
        preprocess = preprocess or Preprocess.gray(1 if in_chans is None else in_chans)
        if in_chans not in (None, preprocess.in_chans):
            raise ValueError(
                f"in_chans must be the {preprocess.in_chans} channel(s) of preprocess, got {in_chans}: leave it out"
            )
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.classifier = classifier
        self.deep_supervision = deep_supervision
        self.auxiliary = auxiliary
        self.reads_scalar: bool = preprocess.scalar
        self.preprocess = preprocess
        self.config: ModelConfig | None = None
        self.threshold: float = 0.5
        self.min_size = 0
        self.tile_size: tuple[int, int] = TILE_SIZE
        self.grad_checkpointing: bool = False
        self.returns_mask: bool = classifier is None and deep_supervision is None and auxiliary is None

    @property
    def preprocess(self) -> Preprocess:
        """How images become the network's input."""
        return self._preprocess

    @preprocess.setter
    def preprocess(self, preprocess: Preprocess) -> None:
        if self.reads_scalar and not preprocess.scalar:
            raise ValueError(
                f"this network reads a number for each image, so its preprocess must have one: give the number's mean "
                f"and std last, and scalar=True, got {preprocess}"
            )
        self._preprocess = preprocess

    @property
    def in_chans(self) -> int:
        """Channels of the input: those of the image, and the scalar's."""
        return self.preprocess.in_chans

    def forward(self, x: Tensor) -> Tensor | SegOutput:
        """Return the logits of a prepared batch.

        Raises:
            ValueError: if the batch is not N C H W with this model's C and H, W of at least 32.
        """
        _check_input(x, self.in_chans)
        size = x.shape[-2:]
        features = self._run(self.encoder, x)  # N c_i H/r_i W/r_i
        maps = self._run(self.decoder, features, size)  # N d_i ..., the last the finest
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

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Return the encoder's maps of a prepared batch, finest first, for a head or an analysis of one's own.

        Returns:
            Maps N channels[i] H/reductions[i] W/reductions[i], with the numbers of `encoder.spec`.

        Raises:
            ValueError: as `forward`.

        Example:
            >>> import saltzoo, torch
            >>> model = saltzoo.create_model("unet_plain").eval()
            >>> [tuple(one.shape) for one in model.forward_features(torch.zeros(1, 1, 101, 101))][::2]
            [(1, 64, 101, 101), (1, 256, 25, 25), (1, 1024, 6, 6)]
        """
        _check_input(x, self.in_chans)
        return self.encoder(x)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switch the recomputation of activations in the backward pass on or off: less memory for more time.

        The activations inside the encoder and inside the decoder are not kept but computed again, so that a training
        step needs memory for the larger of the two instead of both. Results, gradients and the statistics of batch
        norms stay the same. A model inside torch.compile ignores it: the compiler plans its own memory.

        Example:
            >>> import saltzoo
            >>> model = saltzoo.create_model("saltnet_s")
            >>> model.set_grad_checkpointing()
            >>> model.grad_checkpointing
            True
        """
        self.grad_checkpointing = enable

    def _run(self, part: Encoder | Decoder, *inputs: Any) -> Any:
        again = self.grad_checkpointing and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if again and isinstance(part, nn.Module):
            return recomputed(part, *inputs)
        return part(*inputs)

    def mask_only(self) -> Segmenter:
        """Return the same network without what only training needs: its `forward` returns logits alone.

        Deep supervision, the auxiliary head and a classifier that the mask's head does not read are left out. The
        other parts are shared with this model, not copied.
        """
        if self.returns_mask:
            return self
        plain = Segmenter(
            self.encoder,
            self.decoder,
            self.head,
            preprocess=self.preprocess,
            classifier=self.classifier if self.head.reads_image else None,
        )
        plain.returns_mask = True
        plain.training = self.training
        plain.grad_checkpointing = self.grad_checkpointing
        plain.threshold, plain.min_size, plain.tile_size = self.threshold, self.min_size, self.tile_size
        if self.config is not None:
            plain.config = replace(self.config, mask_only=True)
        return plain


def _check_input(x: Tensor, in_chans: int) -> None:
    if x.ndim != 4 or x.shape[1] != in_chans:
        raise ValueError(f"expected a batch N {in_chans} H W, got {tuple(x.shape)}; {_hint(x, in_chans)}")
    if x.shape[2] < MIN_SIZE or x.shape[3] < MIN_SIZE:
        raise ValueError(f"images must be at least {MIN_SIZE} x {MIN_SIZE}, got {x.shape[2]} x {x.shape[3]}: pad them")


def _hint(x: Tensor, in_chans: int) -> str:
    """Return how a batch of another shape becomes one N in_chans H W."""
    if x.ndim in (3, 4) and x.shape[-1] in (1, 3, 4, in_chans) and min(x.shape[-3:-1]) >= MIN_SIZE > x.shape[-1]:
        batch = "[None]" if x.ndim == 3 else ""
        if x.shape[-1] == in_chans:
            return f"its last axis seems to hold the channels, which come first: x.movedim(-1, -3){batch}"
        return (
            f"its last axis seems to hold {x.shape[-1]} channels: make it gray and repeat that, "
            f"x[..., :3].mean(-1){batch}[:, None].expand(-1, {in_chans}, -1, -1)"
        )
    return "gray tiles (N, H, W) become one with x[:, None], or use saltzoo.predict"
