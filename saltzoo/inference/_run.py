"""A model in evaluation mode, its preprocessing and its test-time augmentation: from images to logits or maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._checks import check_choice
from .._torch import evaluating, wrapper_hint
from ..contracts import SegmentationModel, SegOutput
from ..preprocess import Preprocess
from .tta import Mean, Transform, transforms_of


@dataclass(frozen=True)
class Run:
    """A model and how it predicts.

    Attributes:
        model: in any mode.
        preprocess: that of the model.
        transforms: of test-time augmentation; none for the batch as it is.
        mean: what the average over transforms is taken of.
    """

    model: nn.Module
    preprocess: Preprocess
    transforms: tuple[Transform, ...]
    mean: Mean

    @classmethod
    def of(cls, model: SegmentationModel, tta: str | Sequence[Transform] | None, mean: Mean) -> Run:
        """Return a run.

        Raises:
            TypeError: if the model has no preprocess, or `tta` holds something that is no transform.
            ValueError: if a name is unknown.
        """
        module, preprocess = _parts_of(model)
        check_choice("tta_mean", mean, ("probabilities", "logits"))
        return cls(module, preprocess, transforms_of(tta, preprocess.multiple), mean)

    @contextmanager
    def started(self, device: torch.device) -> Iterator[Started]:
        """Yield the model in evaluation mode, for the batches of one call; on `device` if it has no parameters."""
        with evaluating(self.model) as view:
            weight = next(self.model.parameters(), torch.empty(0, device=device))
            yield Started(self, view, weight.device, weight.dtype)


@dataclass(frozen=True)
class Started:
    """A run whose model is in evaluation mode."""

    run: Run
    view: nn.Module
    device: torch.device
    dtype: torch.dtype

    def probabilities(self, images: Tensor, scalars: Tensor | None) -> Tensor:
        """Images N C H W in 0..1 on the model's device -> N K H W, averaged over the transforms."""
        if self.run.mean == "logits":
            return _probabilities(self._maps(images, scalars, _logits))
        return self._maps(images, scalars, lambda output: _probabilities(_logits(output)))

    def logits(self, images: Tensor, scalars: Tensor | None) -> Tensor:
        """Images N C H W in 0..1 on the model's device -> N K H W, float32, averaged over the transforms."""
        if self.run.transforms and self.run.mean == "probabilities":
            mean = self.probabilities(images, scalars)
            return mean.logit(eps=1e-7) if mean.shape[1] == 1 else mean.clamp_min(1e-7).log()
        return self._maps(images, scalars, _logits)

    def _maps(self, images: Tensor, scalars: Tensor | None, read: Callable[[Tensor | SegOutput], Tensor]) -> Tensor:
        preprocess, transforms = self.run.preprocess, self.run.transforms
        prepared = preprocess.normalise(preprocess.assemble(images, scalars)).to(self.dtype)
        size = (prepared.shape[-2], prepared.shape[-1])
        if transforms:
            maps = (transform.invert(read(self.view(transform.apply(prepared))), size) for transform in transforms)
            total = next(maps)
            for one in maps:
                total = total + one
            result = total / len(transforms)
        else:
            result = read(self.view(prepared))
        return preprocess.unpad(result, (images.shape[-2], images.shape[-1]))


def _parts_of(model: SegmentationModel) -> tuple[nn.Module, Preprocess]:
    """Return a model as a module, and its preprocess, which a wrapper of torch.compile passes on."""
    wrong = TypeError(f"{type(model).__name__} is not a saltzoo model: it has no preprocess. {wrapper_hint(model)}")
    if not isinstance(model, nn.Module):
        raise wrong
    try:
        preprocess = model.preprocess
    except AttributeError:
        raise wrong from None
    if not isinstance(preprocess, Preprocess):
        raise TypeError(f"model.preprocess must be a saltzoo.Preprocess, got {type(preprocess).__name__}")
    return model, preprocess


def _logits(output: Tensor | SegOutput) -> Tensor:
    return (output.logits if isinstance(output, SegOutput) else output).float()


def _probabilities(logits: Tensor) -> Tensor:
    """Logits N K H W -> N K H W."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
