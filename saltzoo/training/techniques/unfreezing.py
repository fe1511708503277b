"""Gradual unfreezing: train the stages of a pretrained encoder one after another, from the last to the first.

Howard, Ruder: "Universal Language Model Fine-tuning for Text Classification", arXiv 1801.06146.
"""

from __future__ import annotations

import copy

import torch

from ..._checks import check_fraction
from ...models import Segmenter
from .freezing import set_learning


def unfreezing_stages(model: Segmenter, *, size: tuple[int, int] = (128, 128)) -> tuple[tuple[str, ...], ...]:
    """Return the names of the encoder's parameters by stage, from the input onwards.

    A stage holds the parameters that one map of the encoder depends on and no finer map does. Autograd finds them on a
    copy on the meta device, for any encoder that returns a pyramid. Attention between two stages belongs to the first
    of them. The full-resolution lane of an FRRN depends on its whole encoder, which is therefore a single stage.

    Args:
        model: model that is not wrapped for several processes.
        size: H and W of an image that the encoder takes.

    Returns:
        Names of parameters of the model, for each stage. Every parameter of the encoder is in one stage.

    Raises:
        ValueError: if the model has no encoder with parameters, or the encoder does not take this size.

    Example:
        >>> import saltzoo
        >>> stages = unfreezing_stages(saltzoo.create_model("unet_plain"))
        >>> [len(names) for names in stages], stages[0][0]
        ([6, 6, 6, 6, 6], 'encoder.stages.0.0.conv.weight')
    """
    encoder = dict(model.named_children()).get("encoder")
    if encoder is None or next(encoder.parameters(), None) is None:
        raise ValueError(
            f"model must have an encoder with parameters, but {type(model).__name__} has none: "
            f"pass `.module` of a model wrapped in DistributedDataParallel"
        )
    twin = copy.deepcopy(encoder).to("meta").eval().requires_grad_()
    with torch.inference_mode(False), torch.enable_grad():
        maps = twin(torch.zeros(1, model.in_chans, *size, device="meta"))
        left = dict(twin.named_parameters())
        stages = []
        for one in maps[:-1]:
            if one.requires_grad:  # the first map may be the image itself
                gradients = torch.autograd.grad(one.sum(), list(left.values()), retain_graph=True, allow_unused=True)
                stages.append([name for name, grad in zip(left, gradients, strict=True) if grad is not None])
                left = {name: parameter for name, parameter in left.items() if name not in stages[-1]}
    stages.append(list(left))
    return tuple(tuple(f"encoder.{name}" for name in names) for names in stages if names)


class GradualUnfreezing:
    """Unfreeze the stages of an encoder one by one, from the last to the first; the decoder and head always train.

    The k-th of n stages is unfrozen at the progress until * k / n. Before the first of these, the whole encoder is
    frozen.

    Create the optimiser before this, with all parameters: it skips parameters without a gradient. Wrap a model in
    DistributedDataParallel again whenever `update` returns True.

    Args:
        model: model that is not wrapped. Its encoder is frozen immediately.
        until: progress at which the last frozen stage is unfrozen, as a fraction of all steps, 0 to below 1.
        size: H and W of an image that the encoder takes.

    Attributes:
        starts: progress at which each stage is unfrozen, the last stage first.

    Raises:
        ValueError: unless 0 <= until < 1, or if the model has no encoder with parameters.

    Example:
        >>> import saltzoo
        >>> model = saltzoo.create_model("saltnet_s")
        >>> unfreezing = GradualUnfreezing(model, until=0.4)
        >>> unfreezing.starts
        (0.1, 0.2, 0.30000000000000004, 0.4)
        >>> unfreezing.update(0.05), unfreezing.update(0.1), unfreezing.update(0.15)
        (False, True, False)
        >>> [all(p.requires_grad for p in stage.parameters()) for stage in model.encoder.stages]
        [False, False, False, True]
    """

    def __init__(self, model: Segmenter, *, until: float, size: tuple[int, int] = (128, 128)) -> None:
        check_fraction(until=until)
        stages = unfreezing_stages(model, size=size)[::-1]
        self.starts: tuple[float, ...] = tuple(
            until * ((position + 1) / len(stages)) for position in range(len(stages))
        )
        self._stages = [[model.get_parameter(name) for name in names] for names in stages]
        self._learning = -1
        self.update(0.0)

    def update(self, progress: float) -> bool:
        """Freeze and unfreeze stages for this progress. Call this before each step.

        Args:
            progress: fraction of all steps that are done. It may start in the middle, and may decrease.

        Returns:
            Whether the set of trained parameters changed.
        """
        learning = sum(progress >= start for start in self.starts)
        if learning == self._learning:
            return False
        for position, parameters in enumerate(self._stages):
            set_learning(parameters, learns=position < learning)
        self._learning = learning
        return True
