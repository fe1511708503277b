"""optimize: a faster model with the same results, for inference."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .._torch import evaluation_view, wrapper_hint
from .._torch.wrappers import without_wrappers
from ..contracts import ModelConfig, SegmentationModel, SegOutput
from ..layers import SCSE, UnetBlock
from ..models import Segmenter
from ..preprocess import Preprocess
from .agreement import TOLERANCE, TOLERANCE_FLOAT64, largest_difference
from .doubling import DoublingUnetBlock, is_doubling
from .fold import fold_batch_norms
from .gates import CachedSCSE, is_plain

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_SIDES = (64, 128)
"""Height and width of the image that a model is run on if no example is given."""


class Optimized(nn.Module):
    """A model made for inference by `optimize`.

    Attributes:
        network: the changed copy of the model.
        preprocess: that of the model.
        in_chans: channels of the input.
        config: that of the model; None for a model without one. It tells where the network comes from: an optimised
            model cannot be saved as a checkpoint.
        threshold: that of the model, or .5.
        min_size: that of the model, or 0.
        report: what was done, a line each.

    Shape:
        N C H W of any floating dtype -> float32 logits N num_classes H W
    """

    def __init__(self, network: nn.Module, model: nn.Module, report: list[str], dtype: torch.dtype) -> None:
        super().__init__()
        self.network: nn.Module = network
        self.preprocess: Preprocess
        self.config: ModelConfig | None
        self.preprocess, self.config = parts_of(model)
        self.in_chans: int = self.preprocess.in_chans
        self.threshold: float = float(_attribute(model, "threshold", 0.5))
        self.min_size: int = int(_attribute(model, "min_size", 0))
        self.report: tuple[str, ...] = tuple(report)
        self.dtype: torch.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        layout = torch.preserve_format if torch.compiler.is_compiling() else torch.channels_last
        output = self.network(x.to(self.dtype, memory_format=layout))
        return (output.logits if isinstance(output, SegOutput) else output).float()  # N num_classes H W

    def __repr__(self) -> str:
        name = self.config.architecture if self.config is not None else "model"
        return "\n  ".join([f"{name}, optimised for inference:", *self.report])


@torch.inference_mode(False)  # tensors made in that mode would work in it alone
@torch.no_grad()
def optimize(model: SegmentationModel, *, dtype: torch.dtype | None = None, example: Tensor | None = None) -> Optimized:
    """Return a faster model with the same results, for inference; the given one keeps its weights and its modes.

    - Batch norms fold into the convolutions before them, wherever a run shows that nothing else reads their output.
    - Heads that only training needs are left out, so that `forward` returns logits alone.
    - Where a decoder doubles a map by nearest neighbours, the convolution after it runs on the small map, with four
      multiplications for nine (on a CPU, where nothing is compiled).
    - scSE passes over a map one image at a time (the same condition).
    - Weights and maps are channels_last, and in `dtype`.

    Both models are compared in float64 before the weights are rounded to `dtype`: logits must agree to 1e-8 of the
    largest one. In float32 they differ by rounding, because sums have another order: by about 1e-5 of the largest
    logit, and by up to 1e-3 in networks with BAM before training, whose own rounding is that large.
    In bfloat16 and float16 each map is rounded, and single logits of a deep network can move by a tenth of the largest:
    compare scores before you use them.

    The result works in `predict`, `predict_tiled`, an ensemble, `torch.compile` and `torch.export`. A graph with free
    sizes needs contiguous weights: use `saltzoo.deploy.export`, or `.to(memory_format=torch.contiguous_format)` first.

    Args:
        model: saltzoo model in any mode, also compiled or wrapped.
        dtype: torch.float32, torch.bfloat16 or torch.float16 for weights and maps; None for that of the weights.
            bfloat16 pays on processors with AMX and on GPUs.
        example: prepared batch N C H W on the model's device for the run and the comparison; None for a random image
            of 64 x 64, or 128 x 128 if that is too small for the model.

    Returns:
        A model in evaluation mode whose parameters need no gradients. `print` and `.report` tell what was done.

    Raises:
        TypeError: if the model has no preprocess, or the dtype is no dtype of DTYPES.
        ValueError: if the example does not fit the model, or the results differ by more than rounding.

    Example:
        >>> import saltzoo
        >>> print(optimize(saltzoo.create_model("unet_resnet18")))
        unet_resnet18, optimised for inference:
          30 batch norms folded into convolutions, 0 left
          5 doubling blocks convolve the small map
          float32, channels_last
    """
    network = _copy(model)
    weight = next(network.parameters(), torch.empty(0))
    dtype = weight.dtype if dtype is None else dtype
    if dtype not in DTYPES:
        raise TypeError(f"dtype must be one of {', '.join(map(str, DTYPES))} or None, got {dtype!r}")
    preprocess, _ = parts_of(network)
    # Compared in float64, where a difference is no rounding, and rounded once at the end.
    exact = torch.float32 if weight.device.type == "mps" else torch.float64
    network.to(exact)
    example = _example(network, preprocess.in_chans) if example is None else example
    example = example.to(weight.device, exact)
    want = _logits(network(example))
    slim, heads = _without_heads(network)
    report = [f"heads that only training needs left out of {heads} network(s)"] if heads else []
    report += _change(slim, example)
    slim.to(memory_format=torch.channels_last)
    _check_same(_logits(slim(example)), want)
    slim.to(dtype)
    report.append(f"{str(dtype).removeprefix('torch.')}, channels_last")
    return Optimized(slim, network, report, dtype).eval()


def parts_of(model: nn.Module) -> tuple[Preprocess, ModelConfig | None]:
    """Return the preprocess and the config of a model; the config is None where it has none.

    Raises:
        TypeError: if it has no preprocess.
    """
    preprocess, config = _attribute(model, "preprocess", None), _attribute(model, "config", None)
    if not isinstance(preprocess, Preprocess):
        raise TypeError(f"{type(model).__name__} is not a saltzoo model: it has no preprocess. {wrapper_hint(model)}")
    return preprocess, config if isinstance(config, ModelConfig) else None


def _attribute(model: nn.Module, name: str, default: Any) -> Any:
    try:
        return model.__getattribute__(name)
    except AttributeError:
        return default


def _copy(model: SegmentationModel) -> nn.Module:
    """Return a copy of a model in evaluation mode, without wrappers, whose parameters need no gradients."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a saltzoo model, got {type(model).__name__}")
    if isinstance(model, Optimized):
        model = model.network
    network = copy.deepcopy(without_wrappers(evaluation_view(model)))
    parts_of(network)
    for module in network.modules():
        _replace_inference_tensors(module)
    return network.requires_grad_(False)


def _replace_inference_tensors(module: nn.Module) -> None:
    """Replace a module's own tensors that were made in inference mode, which work in that mode only."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        if parameter.is_inference():
            setattr(module, name, nn.Parameter(parameter.clone()))
    for name, buffer in list(module.named_buffers(recurse=False)):
        if buffer.is_inference():
            setattr(module, name, buffer.clone())


def _example(network: nn.Module, channels: int) -> Tensor:
    """Return a random image that the network takes, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    weight = next(network.parameters(), torch.empty(0))
    for side in _SIDES:
        image = torch.randn(1, channels, side, side, generator=generator).to(weight)
        try:
            network(image)
        except (ValueError, RuntimeError):
            if side == _SIDES[-1]:
                raise
        else:
            return image
    raise AssertionError("unreachable")


def _without_heads(network: nn.Module) -> tuple[nn.Module, int]:
    """Return the network with logits as its only output, and how many segmenters in it lost heads."""
    if isinstance(network, Segmenter):
        plain = network.mask_only()
        return plain, int(plain is not network)
    count = 0
    for name, module in list(network.named_modules()):
        if name and isinstance(module, Segmenter):
            plain = module.mask_only()
            count += plain is not module
            network.set_submodule(name, plain)
    return network, count


def _change(network: nn.Module, example: Tensor) -> list[str]:
    """Change a network in place and return what was done, a line each."""
    pairs = fold_batch_norms(network, example)
    left = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    report = [f"{len(pairs)} batch norms folded into convolutions, {left} left"]
    blocks = [(name, module) for name, module in network.named_modules() if isinstance(module, UnetBlock)]
    blocks = [(name, block) for name, block in blocks if is_doubling(block)]
    for name, block in blocks:
        network.set_submodule(name, DoublingUnetBlock(block))
    if blocks:
        report.append(f"{len(blocks)} doubling blocks convolve the small map")
    gates = [module for module in network.modules() if isinstance(module, SCSE) and is_plain(module)]
    for gate in gates:
        CachedSCSE.take_over(gate)
    if gates:
        report.append(f"{len(gates)} scSE pass over one image at a time")
    return report


def _check_same(got: Tensor, want: Tensor) -> None:
    """Raise ValueError if results differ by more than rounding."""
    difference = largest_difference(got, want)
    if not difference <= (TOLERANCE if want.dtype == torch.float32 else TOLERANCE_FLOAT64):
        raise ValueError(
            f"the optimised model differs from the given one by {difference:.2g} of the largest logit: it holds a "
            f"module that does not do what torch's module of its class does. Use the model as it is, and report this"
        )


def _logits(output: Tensor | SegOutput) -> Tensor:
    return output.logits if isinstance(output, SegOutput) else output
