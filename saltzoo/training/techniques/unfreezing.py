"""Gradual unfreezing: a pretrained encoder learns stage by stage, the last first.

Howard, Ruder: "Universal Language Model Fine-tuning for Text Classification", arXiv 1801.06146.
"""

from __future__ import annotations

import copy

import torch

from ...models import Segmenter
from .freezing import set_learning


def unfreezing_stages(model: Segmenter, *, size: tuple[int, int] = (128, 128)) -> tuple[tuple[str, ...], ...]:
    """The encoder's parameters by stage, in the order in which an image goes through them.

    A stage is what one of the encoder's maps depends on and no finer map does. Autograd says so, of a copy without
    memory: it holds for every encoder that gives a pyramid, and an attention between two stages is in the one that it
    ends. An FRRN's full-size lane depends on all of its encoder, which is a single stage.

    Args:
        model: the plain model, not one wrapped for several processes.
        size: H and W of an image that the encoder takes.

    Returns:
        For each stage the names of its parameters in the model; each parameter of the encoder is in one.

    Raises:
        ValueError: if the model has no encoder with parameters, or it takes no images of that size.

    Example:
        >>> import saltzoo
        >>> stages = unfreezing_stages(saltzoo.create_model("unet_plain"))
        >>> [len(names) for names in stages], stages[0][0]
        ([6, 6, 6, 6, 6], 'encoder.stages.0.0.conv.weight')
    """
    encoder = getattr(model, "encoder", None)
    if encoder is None or not any(True for _ in encoder.parameters()):
        raise ValueError(
            f"{type(model).__name__} has no encoder with parameters to unfreeze. "
            f"Of a wrapped model (DistributedDataParallel) give `.module`"
        )
    twin = copy.deepcopy(encoder).to("meta").eval().requires_grad_()
    with torch.inference_mode(False), torch.enable_grad():
        maps = twin(torch.zeros(1, model.in_chans, *size, device="meta"))
        left = dict(twin.named_parameters())
        stages = []
        for one in maps[:-1]:
            if one.requires_grad:  # the image itself may be a map
                gradients = torch.autograd.grad(one.sum(), list(left.values()), retain_graph=True, allow_unused=True)
                stages.append([name for name, grad in zip(left, gradients, strict=True) if grad is not None])
                left = {name: parameter for name, parameter in left.items() if name not in stages[-1]}
    stages.append(list(left))
    return tuple(tuple(f"encoder.{name}" for name in names) for names in stages if names)


class GradualUnfreezing:
    """Unfreezes an encoder stage by stage, the last first; what comes after the encoder learns throughout.

    Of n stages one more learns after each n-th part of the time until `until`, from where on all do. Before the first
    of these moments the encoder is frozen whole.

    Build the optimiser first, with all parameters: it leaves out by itself those that have no gradient. A model that
    is wrapped in DistributedDataParallel must be wrapped anew whenever `update` returns True.

    Args:
        model: the plain model; its encoder is frozen at once.
        until: share of all steps after which all stages learn, from 0 up to 1.
        size: as in `unfreezing_stages`.

    Attributes:
        starts: of each stage, the last one first: the progress from which on it learns.

    Raises:
        ValueError: if `until` is not such a share, or the model has no encoder to unfreeze.

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
        if not 0 <= until < 1:
            raise ValueError(f"until is the share of all steps after which all stages learn, 0 up to 1, got {until}")
        stages = unfreezing_stages(model, size=size)[::-1]
        self.starts = tuple(until * ((position + 1) / len(stages)) for position in range(len(stages)))
        self._stages = [[model.get_parameter(name) for name in names] for names in stages]
        self._learning = -1
        self.update(0.0)

    def update(self, progress: float) -> bool:
        """Freezes and unfreezes what is to be at this progress; called before each step.

        Args:
            progress: share of all steps that are done. It may go back, too, and start in the middle.

        Returns:
            Whether other parameters learn than before.
        """
        learning = sum(progress >= start for start in self.starts)
        if learning == self._learning:
            return False
        for position, parameters in enumerate(self._stages):
            set_learning(parameters, learns=position < learning)
        self._learning = learning
        return True
