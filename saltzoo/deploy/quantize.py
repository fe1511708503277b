"""int8 for CPUs: static quantisation of an ONNX file by ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..preprocess import Preprocess
from .metadata import KEY
from .runtimes import extra

FEWEST = 8
"""Tiles without which ranges of activations mean nothing."""

_BATCH = 8

_KEPT = ("Conv",)
"""Operations whose inputs and weights become int8; others stay in float32."""


def calibration_batches(
    tiles: Tensor | npt.NDArray[Any], preprocess: Preprocess, *, size: tuple[int, int] | None = None
) -> list[Tensor]:
    """Return gray tiles (N, H, W) or images (N, C, H, W), uint8 or in 0..1, as prepared batches, of `size` if given.

    Raises:
        TypeError: if they are no array.
        ValueError: if there are fewer than FEWEST, or their shape or range is wrong.
    """
    if not isinstance(tiles, (Tensor, np.ndarray)):
        raise TypeError(f"int8 must be tiles as a numpy array or a torch tensor, got {type(tiles).__name__}")
    x = torch.as_tensor(tiles).cpu()
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[1] not in (1, preprocess.in_chans) or len(x) < FEWEST:
        raise ValueError(
            f"int8 must be {FEWEST} or more tiles (N, H, W) or (N, {preprocess.in_chans}, H, W), "
            f"got {tuple(tiles.shape)}: give about 100 tiles such as the model is to see"
        )
    x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
    if not (x.isfinite().all() and x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"int8 must be tiles in uint8 or in 0..1, got {x.min():g} to {x.max():g}: scale them")
    batches = [preprocess(part.expand(-1, preprocess.in_chans, -1, -1)) for part in x.split(_BATCH)]
    sides = tuple(batches[0].shape[2:])
    if size is not None and sides != size:
        raise ValueError(f"int8 must be tiles that are prepared as {size}, got {sides}: resize them")
    return batches


def quantize(source: Path, target: Path, batches: Sequence[Tensor], description: str) -> None:
    """Write an ONNX file whose convolutions compute in int8: weights per channel, activations by their range.

    The first convolution and those that make logits stay in float32, where rounding costs most and time least.

    Args:
        source: float32 file.
        target: new file.
        batches: prepared batches N C H W from which the ranges of activations are read.
        description: metadata.
    """
    onnx, tool = extra("onnx", "onnx"), extra("onnxruntime.quantization", "onnx")
    prepared = target.with_suffix(".prepared.onnx")
    logging.disable(logging.WARNING)  # of the tool, about its own steps
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extra("onnxruntime.quantization.shape_inference", "onnx").quant_pre_process(
                str(source), str(prepared), skip_symbolic_shape=True
            )
            graph = onnx.load(prepared)
            tool.quantize_static(
                str(prepared),
                str(target),
                _reader(tool, graph.graph.input[0].name, batches),
                quant_format=tool.QuantFormat.QDQ,
                op_types_to_quantize=list(_KEPT),
                per_channel=True,
                activation_type=tool.QuantType.QUInt8,
                weight_type=tool.QuantType.QInt8,
                calibrate_method=tool.CalibrationMethod.MinMax,
                nodes_to_exclude=_first_and_last(graph.graph),
            )
    finally:
        logging.disable(logging.NOTSET)
        prepared.unlink(missing_ok=True)
    model = onnx.load(target)
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, description
    onnx.save(model, target)


def _reader(tool: Any, name: str, batches: Sequence[Tensor]) -> Any:
    class Reader(tool.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator[Tensor] = iter(batches)

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            batch = next(self.rest, None)
            return None if batch is None else {name: batch.numpy()}

    return Reader()


def _first_and_last(graph: Any) -> list[str]:
    """Return the names of the convolutions of few channels: the first in the graph and those that make few maps."""
    weights = {one.name: list(one.dims) for one in graph.initializer}
    names = []
    for index, node in enumerate(node for node in graph.node if node.op_type == "Conv"):
        outputs = weights.get(node.input[1], [0])[0]
        if index == 0 or outputs <= 4:
            names.append(node.name)
    return names
