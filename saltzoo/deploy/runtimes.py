"""Other runtimes: how a file of each format is written from an exported graph, and how it is opened and called."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .metadata import KEY

Call = Callable[[Tensor], Tensor]
Program = torch.export.ExportedProgram


class Format(NamedTuple):
    """A format of files.

    Attributes:
        suffix: end of the file's name.
        write: writes a graph and its description to a path.
        open: opens a file for a number of threads; returns how it is called and its description.
    """

    suffix: str
    write: Callable[[Program, str, Path], None]
    open: Callable[[Path, int | None], tuple[Call, str | None]]


def extra(module: str, name: str) -> Any:
    """Return an optional library.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f'{module} is not installed: pip install "saltzoo[{name}]"') from error


def _onnx_model(program: Program) -> Any:
    extra("onnxscript", "onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter, about its own insides
        return torch.onnx.export(program, dynamo=True, verbose=False, input_names=["images"], output_names=["logits"])


def _write_onnx(program: Program, description: str, path: Path) -> None:
    onnx = extra("onnx", "onnx")
    model = _onnx_model(program).model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, description
    onnx.save(model, path)


def _open_onnx(path: Path, threads: int | None) -> tuple[Call, str | None]:
    runtime = extra("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    description: Mapping[str, str] = session.get_modelmeta().custom_metadata_map

    def call(x: Tensor) -> Tensor:
        (logits,) = session.run(None, {image.name: x.numpy()})
        return torch.from_numpy(logits)

    return call, description.get(KEY)


def _write_openvino(program: Program, description: str, path: Path) -> None:
    openvino = extra("openvino", "openvino")
    graph = _openvino_graph(openvino, program, path)
    graph.set_rt_info(description, KEY)
    openvino.save_model(graph, path, compress_to_fp16=False)


def _openvino_graph(openvino: Any, program: Program, path: Path) -> Any:
    """Return OpenVINO's graph of a program, by way of ONNX if OpenVINO does not know all its operations."""
    try:
        return openvino.convert_model(program)
    except Exception as error:  # its errors have no common class
        try:
            bridge = path.with_suffix(".onnx")
            _write_onnx(program, "", bridge)
            graph = openvino.convert_model(bridge)
            bridge.unlink()
        except Exception:
            text = " ".join(str(error).split())
            raise ValueError(f"OpenVINO cannot convert this network: {text[-200:]}") from error
        return graph


def _open_openvino(path: Path, threads: int | None) -> tuple[Call, str | None]:
    openvino = extra("openvino", "openvino")
    core = openvino.Core()
    graph = core.read_model(path)
    description = graph.get_rt_info(KEY).astype(str) if graph.has_rt_info(KEY) else None
    settings = {"INFERENCE_NUM_THREADS": threads or torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(graph, "CPU", settings)

    def call(x: Tensor) -> Tensor:
        result = compiled(np.ascontiguousarray(x.numpy()))[0]
        return torch.from_numpy(np.array(result))  # the runtime reuses its own memory

    return call, description


def _write_pt2(program: Program, description: str, path: Path) -> None:
    torch.export.save(program, path, extra_files={KEY: description})


def _open_pt2(path: Path, threads: int | None) -> tuple[Call, str | None]:
    files = {KEY: ""}
    program = torch.export.load(path, extra_files=files)
    module = program.module()

    def call(x: Tensor) -> Tensor:
        with torch.no_grad():
            return module(x)

    return call, files[KEY] or None


FORMATS: Mapping[str, Format] = {
    "onnx": Format(".onnx", _write_onnx, _open_onnx),
    "openvino": Format(".xml", _write_openvino, _open_openvino),
    "pt2": Format(".pt2", _write_pt2, _open_pt2),
}

SUFFIXES = tuple(one.suffix for one in FORMATS.values())
"""Suffixes of the files that `saltzoo.deploy.load` reads."""
