"""cost: how large a model is, and how much it computes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch._subclasses import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from .._torch import modes_restored
from .segmenter import Segmenter


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        parameters: numbers that training changes, those of heads that only training needs among them.
        flops: floating-point operations of the forward pass of one image.
    """

    parameters: int
    flops: int


def cost(model: Segmenter, size: tuple[int, int] = (101, 101)) -> Cost:
    """Parameters of a model, and operations of its forward pass in evaluation.

    Convolutions, matrix products and dot-product attention are counted, a multiply-add as two. Nothing else is:
    no bias, norm, activation, gate, pooling or resampling (of guided upsampling its convolutions, but not its
    sampling). They are few operations beside, though their time, which goes into memory, is not as small.

    Nothing is computed and no memory of the model is touched: only shapes go through it. So it may be on any
    device, and one that is only to be counted is best built on "meta", where it has no memory at all.

    Args:
        model: a saltzoo model, in any mode; it is left in the mode it was in. With `model.mask_only()` the heads
            that only training needs do not count.
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
    # Fake tensors and not those of "meta": autocast, which layers switch off around what has to be exact, knows no such
    # device. The counter goes inside, so that it sees what the layers call.
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with modes_restored(model), fake, FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()
        state = {
            name: torch.empty(
                tensor.shape, dtype=torch.float32 if tensor.is_floating_point() else tensor.dtype, device="cpu"
            )
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
        }
        functional_call(model, state, torch.empty(1, model.in_chans, *size, device="cpu"))
    return Cost(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops())
