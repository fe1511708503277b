"""Checkpoints: folders of config.json, model.safetensors and README.md, read with care.

The only file that imports safetensors. It builds no network.
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

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Endings of files that may hold pickled code."""


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds.

    Attributes:
        source: where it was read, in the words of `create_model`.
        architecture: the model's name in the registry.
        model_args: everything else that `create_model` needs to build it.
        mask_only: whether heads that only training needs were left out.
        preprocess: how images become its input.
        tensors: its state dict.
        config: all of config.json.
    """

    source: str
    architecture: str
    model_args: dict[str, Any]
    mask_only: bool
    preprocess: Preprocess
    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(repr=False)


class DamagedFileError(ValueError):
    """A file of a checkpoint can't be read.

    Args:
        file: which.
        why: what is wrong with it: "is not JSON".
    """

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} {why}: save the checkpoint again, or copy it anew from where it came")
        self.file = file
        self.why = why


def load_folder(directory: str | os.PathLike[str]) -> Checkpoint:
    """Reads a checkpoint from disk.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if a file is not what it should be.
    """
    folder = Path(directory).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no checkpoint at {folder}: not a folder. Give one that holds {CONFIG} and {WEIGHTS}")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no {name} in {folder}. {what_is_there(os.listdir(folder))}")
    return read_checkpoint(folder / CONFIG, folder / WEIGHTS, source=f"local-dir:{directory}")


def read_checkpoint(config_file: Path, weights_file: Path, *, source: str) -> Checkpoint:
    """Reads the two files of a checkpoint, wherever they are.

    Raises:
        DamagedFileError: if one can't be read.
        ValueError: if one is not what it should be.
    """
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFileError(config_file, f"is not JSON ({error})") from error
    needed = {"architecture": str, "model_args": dict, "preprocess": dict}
    with newer_explained(config, source):
        if not isinstance(config, dict) or not all(isinstance(config.get(key), kind) for key, kind in needed.items()):
            raise ValueError(f"{config_file} is not a saltzoo config: it needs {', '.join(needed)}")
        preprocess = Preprocess.from_dict(config["preprocess"])
    model_args = dict(config["model_args"])
    mask_only = model_args.pop("mask_only", False)  # where saltzoo 0.1.0 kept it
    return Checkpoint(
        source=source,
        architecture=config["architecture"],
        model_args=model_args,
        mask_only=config.get("mask_only", mask_only),
        preprocess=preprocess,
        tensors=read_tensors(weights_file),
        config=config,
    )


def read_tensors(weights_file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name. Its size is held against its header; no hash is computed.

    Raises:
        DamagedFileError: if it is damaged, or something else.
    """
    try:
        return load_file(weights_file)
    except SafetensorError as error:
        raise DamagedFileError(weights_file, f"is damaged or cut short ({error})") from error


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The contents of a safetensors file."""
    return save(dict(tensors), metadata={"format": "pt"})


def what_is_there(names: Sequence[str]) -> str:
    """What to tell of a place that holds these files and no checkpoint, and what to do."""
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    if pickles:
        return (
            f"{', '.join(pickles)} may hold pickled code, which saltzoo never runs. To convert it: build its model "
            f'with create_model, saltzoo.convert.load_foreign(model, "{pickles[0]}") (with weights_only=True), and '
            f"save_pretrained that"
        )
    return f"It holds {sorted(names) or 'nothing'}: give one that save_pretrained or examples/train.py wrote"


def is_newer(config: Any) -> bool:
    """Whether a config was written by a saltzoo of a later release than this one."""
    saved = config.get("saltzoo_version") if isinstance(config, dict) else None
    return _release(str(saved)) > _release(__version__)


@contextmanager
def newer_explained(config: Any, source: str) -> Iterator[None]:
    """Says of a checkpoint that can't be used that it is of a newer saltzoo, if it is."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not is_newer(config):
            raise
        raise ValueError(
            f"{source} was saved by saltzoo {config['saltzoo_version']}, which is newer than this {__version__}, and "
            f"can't be read by it ({error}): upgrade with `pip install --upgrade saltzoo`"
        ) from error


def _release(version: str) -> list[int]:
    """Its numbers: [1, 2, 0] of "1.2.0rc1"; none of what is no version."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return [int(number) for number in numbers[0].split(".")] if numbers else []
