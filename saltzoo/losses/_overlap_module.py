"""The Dice, Jaccard and Tversky losses as modules: one overlap with other factors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ._options import Reduction, shown_options
from ._overlap import Empty, Factors, check_overlap_options, overlap_loss


class OverlapLoss(nn.Module):
    """Loss of an overlap. It keeps its options, which are those of `dice_loss`, as attributes.

    A subclass gives the weights of hits and errors in `_factors`.
    """

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        log: bool = False,
        per_image: bool = True,
        empty: Empty = "mean",
        classes: Sequence[int] | None = None,
        weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_overlap_options(
            smooth=smooth,
            log=log,
            per_image=per_image,
            empty=empty,
            classes=classes,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
        )
        self.smooth: float = smooth
        self.log: bool = log
        self.per_image: bool = per_image
        self.empty: Empty = empty
        self.classes: Sequence[int] | None = classes
        self.weight: Sequence[float] | None = weight
        self.ignore_index: int | None = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss as its function does, with the module's options."""
        return overlap_loss(
            logits,
            target,
            self._factors(),
            smooth=self.smooth,
            log=self.log,
            per_image=self.per_image,
            empty=self.empty,
            classes=self.classes,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def _factors(self) -> Factors:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)
