"""export: a network as a file for ONNX Runtime, OpenVINO or torch.export."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from .._checks import check_choice, check_counts, check_fraction
from ..contracts import SegmentationModel
from ..models.segmenter import MIN_SIZE
from ..preprocess import Preprocess
from .agreement import largest_difference
from .metadata import Metadata, labels_of
from .optimize import Optimized, optimize
from .quantize import calibration_batches, quantize
from .runtimes import FORMATS, Call, Program

SHAPES = ((2, 101, 101), (1, 128, 128), (3, 104, 97))
"""Images, height and width at which a file is compared with the model."""

SMALLEST = (MIN_SIZE + 1, 64, 97)
"""Smallest height and width of a file of any size, tried in this order: some encoders need larger images."""

_SLACK = 1e-4
_OWN_ROUNDINGS = 10

_OTHER = 0.05
"""Largest fraction of pixels in which masks in int8 may differ."""


def export(
    model: SegmentationModel,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    size: tuple[int, int] | None = None,
    prepare: bool = False,
    labels: Sequence[str] | None = None,
    license: str = "",
    threshold: float | None = None,
    min_size: int | None = None,
    int8: Tensor | npt.NDArray[Any] | None = None,
) -> Path:
    """Write a model as a file that another runtime computes, and that `saltzoo.deploy.load` makes a model again.

    The model is optimised first: batch norms are folded, and heads that only training needs are left out. The file
    takes any number of images of any size, or those of `size`; in an ONNX file the input is named "images", the output
    "logits". Before the file gets its name it is opened, and its logits are compared with those of the model at three
    shapes: they differ by at most 1e-4 of the largest logit (or of 1), and ten times the rounding of the model itself
    in float32, which is measured against float64.

    Args:
        model: saltzoo model in any mode, on any device.
        path: file to write, ".onnx", ".xml" (OpenVINO, which writes a ".bin" beside it) or ".pt2" (torch.export). An
            existing file is replaced once the new one is complete.
        format: "onnx", "openvino" or "pt2"; None for that of the path's suffix.
        size: height and width if the file needs to take one size only; None for any from 33 x 33, or from
            the next of SMALLEST that the network allows.
        prepare: whether the file normalises images, so that it takes images in 0..1. Padding stays outside.
        labels: name of each class; None for "salt", or "class_0", "class_1", ...
        license: licence of the weights, such as "apache-2.0".
        threshold: probability above which a pixel counts as salt; None for the model's.
        min_size: number of pixels below which a patch of salt is to be removed; None for the model's.
        int8: gray tiles (N, H, W) or images (N, C, H, W), uint8 or in 0..1, from which ONNX Runtime reads the ranges
            of activations to quantise the convolutions; about 100, such as the model is to see. Before the file gets
            its name, it must agree with the model on at least 95 % of their pixels. None for float32.

    Returns:
        The path.

    Raises:
        TypeError: if the model is no saltzoo model.
        ValueError: if an option is unknown, the suffix does not fit the format, the graph cannot have free sizes, or
            the runtime's results differ.
        ImportError: if the format's library is not installed.
        OSError: if the file cannot be written.
    """
    target = Path(path)
    if format is None:
        format = next((name for name, one in FORMATS.items() if one.suffix == target.suffix), target.suffix)
    check_choice("format", format, FORMATS)
    if target.suffix != FORMATS[format].suffix:
        raise ValueError(f"path must end in {FORMATS[format].suffix} for format={format!r}, got {str(target)!r}")
    if threshold is not None:
        check_fraction(threshold=threshold)
    if min_size:
        check_counts(min_size=min_size)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"path must lie in a folder that exists, got {str(target)!r}: make {target.parent}")
    if int8 is not None and format != "onnx":
        raise ValueError(f'int8 must be None for format={format!r}: ONNX Runtime quantises, use format="onnx"')
    network = optimize(model, dtype=torch.float32).cpu().to(memory_format=torch.contiguous_format)
    graph: nn.Module = _Normalised(network) if prepare else network
    shapes = [(count, *size) for count, _, _ in SHAPES] if size else list(SHAPES)
    program, smallest = _program(graph, network.in_chans, size)
    with torch.no_grad():
        classes = graph(torch.zeros(1, network.in_chans, *shapes[0][1:])).shape[1]
    about = Metadata(
        architecture=network.config.architecture if network.config is not None else "",
        preprocess=network.preprocess,
        folded=prepare,
        labels=labels_of(labels, classes),
        license=license,
        threshold=network.threshold if threshold is None else threshold,
        min_size=network.min_size if min_size is None else min_size,
        size=size,
        smallest=smallest,
    )
    prepared = plain_preprocess(network.preprocess) if prepare else network.preprocess
    batches = [] if int8 is None else calibration_batches(int8, prepared, size=size)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        written = Path(folder) / target.name
        FORMATS[format].write(program, about.to_json(), written)
        call, description = FORMATS[format].open(written, None)
        Metadata.from_json(description)
        _check_same(call, graph, network.in_chans, shapes, format)
        if batches:
            quantize(written, written, batches, about.to_json())
            call, _ = FORMATS[format].open(written, None)
            _check_masks(call, graph, batches, about.threshold)
        del call  # OpenVINO maps the file of weights
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.suffix == target.suffix):
            file.replace(target.parent / file.name)  # the weights first, the file that names them last
    return target


class _Normalised(nn.Module):
    """A network that takes images in 0..1."""

    def __init__(self, network: Optimized) -> None:
        super().__init__()
        preprocess = network.preprocess
        if preprocess.multiple > 1 and preprocess.pad_mode == "constant":
            raise ValueError(
                'prepare must be False for a model whose preprocess pads with pad_mode="constant": it pads with zeros '
                "after normalising, and padding stays outside of the file"
            )
        self.network = network
        self.mean = nn.Buffer(torch.tensor(preprocess.mean)[:, None, None])  # C 1 1
        self.std = nn.Buffer(torch.tensor(preprocess.std)[:, None, None])  # C 1 1

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - self.mean) / self.std)


def plain_preprocess(preprocess: Preprocess) -> Preprocess:
    """Return a preprocess that pads as the given one and does not normalise."""
    count = preprocess.in_chans
    return Preprocess(
        mean=(0.0,) * count,
        std=(1.0,) * count,
        multiple=preprocess.multiple,
        pad_mode=preprocess.pad_mode,
        scalar=preprocess.scalar,
    )


def _program(graph: nn.Module, channels: int, size: tuple[int, int] | None) -> tuple[Program, int]:
    """Return the graph of a network for any number of images, of any size or of one, and the smallest size."""
    dim = torch.export.Dim
    # Sides of different parity: torch takes for a fact what the example fulfils by chance.
    example = torch.randn(2, channels, *(size or SHAPES[-1][1:]))
    failures: list[Exception] = []
    for smallest in (min(size),) if size else SMALLEST:
        sides = {} if size else {2: dim("h", min=smallest), 3: dim("w", min=smallest)}
        try:
            with torch.no_grad():
                return torch.export.export(graph, (example,), dynamic_shapes=({0: dim("n"), **sides},)), smallest
        except (RuntimeError, ValueError, torch._dynamo.exc.TorchDynamoException) as error:
            failures.append(error)
    reasons = [line.strip() for line in str(failures[-1]).splitlines() if line.strip()]
    advice = "" if size else ": give size=(height, width) for a file that takes one size"
    raise ValueError(f"torch.export cannot make a graph of this model ({' '.join(reasons[:3])}){advice}") from failures[
        -1
    ]


@torch.no_grad()
def _check_same(
    call: Call, graph: nn.Module, channels: int, shapes: Sequence[tuple[int, int, int]], format: str
) -> None:
    """Raise ValueError if a file's logits differ from the model's by more than rounding."""
    exact = copy.deepcopy(graph).double()
    for module in exact.modules():
        if isinstance(module, Optimized):
            module.dtype = torch.float64
    generator = torch.Generator().manual_seed(0)
    for count, height, width in shapes:
        x = torch.rand(count, channels, height, width, generator=generator)
        want = graph(x)
        own = largest_difference(want.double(), exact(x.double()).double())
        difference = largest_difference(call(x), want)
        if not difference <= _SLACK + _OWN_ROUNDINGS * own:
            raise ValueError(
                f"the {format} file differs from the model by {difference:.2g} of the largest logit at {count} x "
                f"{channels} x {height} x {width}, more than rounding ({own:.2g}): nothing was written. Choose another "
                f"format, one of {', '.join(map(repr, FORMATS))}"
            )


@torch.no_grad()
def _check_masks(call: Call, graph: nn.Module, batches: Sequence[Tensor], threshold: float) -> None:
    """Raise ValueError if masks of a quantised file differ from the model's in more than _OTHER of the pixels."""
    other = total = 0
    for x in batches:
        want, got = graph(x), call(x)
        if want.shape[1] == 1:
            other += int(((got.sigmoid() > threshold) != (want.sigmoid() > threshold)).sum())
        else:
            other += int((got.argmax(1) != want.argmax(1)).sum())
        total += want[:, 0].numel()
    if not other <= _OTHER * total:
        raise ValueError(
            f"the int8 file's masks differ from the model's in {other / total:.1%} of the pixels of the tiles, and "
            f"{_OTHER:.0%} are allowed; nothing was written: this network needs float32, leave out int8"
        )
