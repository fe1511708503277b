"""Read a checkpoint's folder, and explain what is wrong with it. No network is built here.

The only file that imports safetensors.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from .._version import __version__
from ..preprocess import Preprocess
from .quantized import dequantized

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
_SHOWN = 8
_NEEDED = {"architecture": str, "model_args": dict, "preprocess": dict}
_NEEDED_OF_ENSEMBLE = {"ensemble": dict}
_OPTIONAL = {"mask_only": bool, "labels": list, "license": str, "metrics": list, "recipe": dict}
_NUMBERS = {"threshold": (int, float), "min_size": (int,)}
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Suffixes of files that may hold pickled code."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Attributes:
        source: name under which `create_model` finds it, such as "local-dir:PATH".
        architecture: name of the model in the registry.
        model_args: every option of the model with its value.
        mask_only: whether heads that only training needs were left out.
        preprocess: conversion of images to the network's input.
        tensors: state dict.
        config: content of config.json, with defaults for what may be missing.
    """

    source: str
    architecture: str
    model_args: dict[str, Any]
    mask_only: bool
    preprocess: Preprocess
    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(repr=False)


class DamagedFileError(ValueError):
    """A file of a checkpoint that cannot be read.

    Args:
        file: path of the file.
        why: reason, such as "is not JSON".
    """

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} {why}: save the checkpoint again, or copy it again from its source")
        self.file = file
        self.why = why


def load_folder(directory: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint from a folder.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if a file is damaged or not part of a saltzoo checkpoint.
    """
    folder = Path(directory).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no checkpoint at {folder}: not a folder. Give one that holds {CONFIG} and {WEIGHTS}")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no {name} in {folder}. {what_is_there(os.listdir(folder))}")
    return read_checkpoint(folder / CONFIG, folder / WEIGHTS, source=f"local-dir:{directory}")


def read_checkpoint(config_file: Path, weights_file: Path, *, source: str) -> Checkpoint:
    """Read the two files of a checkpoint, which may be in different folders.

    Raises:
        DamagedFileError: if a file cannot be read.
        ValueError: if the config is not of a saltzoo checkpoint.
    """
    config = read_config(config_file, source=source)
    if "ensemble" in config:
        raise ValueError(
            f"{source} is an ensemble, and one model is needed here: give the folder of one of its members"
        )
    with newer_explained(config, source):
        preprocess = Preprocess.from_dict(config["preprocess"])
    model_args = dict(config["model_args"])
    mask_only_of_0_1_0 = model_args.pop("mask_only", False)  # saltzoo 0.1.0 saved it among the options
    return Checkpoint(
        source=source,
        architecture=config["architecture"],
        model_args=model_args,
        mask_only=bool(config.get("mask_only", mask_only_of_0_1_0)),
        preprocess=preprocess,
        tensors=read_tensors(weights_file),
        config=config,
    )


def read_config(config_file: Path, *, source: str) -> dict[str, Any]:
    """Read config.json. Values that only describe the weights may be missing.

    Raises:
        DamagedFileError: if the file cannot be read.
        ValueError: if it is not the config of a saltzoo checkpoint.
    """
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(config_file, f"is not JSON ({error})") from error
    with newer_explained(config, source):
        needed = _NEEDED_OF_ENSEMBLE if isinstance(config, dict) and "ensemble" in config else _NEEDED
        if not isinstance(config, dict) or not all(isinstance(config.get(key), kind) for key, kind in needed.items()):
            raise ValueError(f"{config_file} is not a saltzoo config: it needs {', '.join(needed)}")
        wrong = [key for key, kind in _OPTIONAL.items() if not isinstance(config.get(key, kind()), kind)]
        wrong += [key for key, kind in _NUMBERS.items() if not isinstance(config.get(key, 0), kind)]
        if wrong or not all(map(_is_metric, config.get("metrics", []))):
            raise ValueError(
                f"{config_file} is not a saltzoo config: {', '.join(wrong) or 'metrics'} must be "
                f"{_kind(wrong[0]) if wrong else 'tables with a name and a number, value'}"
            )
    return {"license": "other", "metrics": [], "recipe": {}, **config}


def _kind(key: str) -> str:
    return _OPTIONAL[key].__name__ if key in _OPTIONAL else "a number"


def _is_metric(value: Any) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("value"), int | float)
    )


def read_tensors(weights_file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name. Its size is checked against its header, but not its hash.

    Raises:
        DamagedFileError: if the file is damaged, or is not a safetensors file.
    """
    try:
        return dequantized(load_file(weights_file))
    except (SafetensorError, ValueError) as error:
        raise DamagedFileError(weights_file, f"is damaged or cut short ({error})") from error


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a safetensors file."""
    return save(dict(tensors), metadata={"format": "pt"})


def what_is_there(names: Sequence[str]) -> str:
    """Return a hint on a place that holds these files and no checkpoint."""
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    if pickles:
        return (
            f"{', '.join(pickles)} may hold pickled code, which saltzoo never runs. To convert it: build the model "
            f'with create_model, load the tensors with saltzoo.convert.load_foreign(model, "{pickles[0]}"), and save '
            f"the model with save_pretrained"
        )
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = sorted(names)[:_SHOWN] or "nothing"
    return f"It holds {shown}{more}: give one that save_pretrained or examples/train.py wrote"


def is_newer(config: Any) -> bool:
    """Return whether a config was written by a later release of saltzoo than this one."""
    saved = config.get("saltzoo_version") if isinstance(config, dict) else None
    return _release(str(saved)) > _release(__version__)


@contextmanager
def newer_explained(config: Any, source: str) -> Iterator[None]:
    """If a checkpoint cannot be used and was saved by a newer saltzoo, say so in the error."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not is_newer(config):
            raise
        raise ValueError(
            f"{source} was saved by saltzoo {config['saltzoo_version']}, which is newer than this {__version__} and "
            f"cannot be read by it ({error}): upgrade with `pip install --upgrade saltzoo`"
        ) from error


def _release(version: str) -> list[int]:
    """Return the numbers of a version, such as [1, 2, 0] of "1.2.0rc1"; [] if it is not a version."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return [int(number) for number in numbers[0].split(".")] if numbers else []
