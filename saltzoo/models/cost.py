"""cost: parameters and operations of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch._subclasses import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from .._torch import evaluation_view, unwrapped
from .segmenter import Segmenter


@dataclass(frozen=True)
class Cost:
    """Size of a model and work of its forward pass.

    Attributes:
        parameters: numbers that training changes, including those of heads that only training needs.
        flops: floating-point operations of the forward pass of one image.
    """

    parameters: int
    flops: int


def cost(model: Segmenter, size: tuple[int, int] = (101, 101)) -> Cost:
    """Count the parameters of a model, and the operations of its forward pass in evaluation mode.

    Convolutions, matrix products and dot-product attention are counted, a multiply-add as two operations. Biases,
    norms, activations, gates, pooling and resampling are not (guided upsampling counts by its convolutions, not by its
    sampling): they are few operations, although they take more time than that, as they are bound by memory.

    Only shapes go through the model: nothing is computed, and its memory is not touched. It may be on any device;
    build a model that is only to be counted on "meta", where it takes no memory.

    Args:
        model: a saltzoo model in any mode, or a wrapper of one (compiled, parallel, averaged). Give
            `model.mask_only()` to leave out the heads that only training needs.
        size: H and W of the image.

    Raises:
        ValueError: if the size is not two numbers, or too small for the model.

    Example:
        >>> from saltzoo import create_model
        >>> with torch.device("meta"):
        ...     model = create_model("saltnet_s")
        >>> cost(model)
        Cost(parameters=2352216, flops=1120485568)
    """
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"size must be H and W of the image, such as (101, 101), got {size!r}")
    model = cast(Segmenter, unwrapped(model))
    # Fake tensors instead of "meta" ones: layers switch autocast off where results must be exact, and autocast does not
    # know "meta". The counter goes inside, so that it sees what the layers call.
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    view = evaluation_view(model)  # its tensors are swapped for fake ones
    with fake, FlopCounterMode(display=False) as counter, torch.no_grad():
        state = {
            name: torch.empty(
                tensor.shape, dtype=torch.float32 if tensor.is_floating_point() else tensor.dtype, device="cpu"
            )
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
        }
        functional_call(view, state, torch.empty(1, model.in_chans, *size, device="cpu"))
    return Cost(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops())
