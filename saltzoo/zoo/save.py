"""save_pretrained: write a checkpoint, after checking that create_model gives the same model back."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import check_choice
from .._torch import names_without_wrappers, unwrapped
from ..checkpoints.card import model_card
from ..checkpoints.config import config_of, describe
from ..checkpoints.files import write_files
from ..checkpoints.folder import CARD, CONFIG, WEIGHTS, load_folder, tensors_to_bytes
from ..checkpoints.quantized import dequantized
from ..checkpoints.tensors import check_plain, shapes_of, tensors_of, to_stored
from ..contracts import ModelConfig
from .build import build_model
from .registry import find_model
from .restore import leave_out_heads

_SHOWN = 3

_SAME_AS = {
    "PooledBatchNorm": "BatchNorm2d",
    "SyncBatchNorm": "BatchNorm2d",
    "BatchNorm1d": "BatchNorm2d",
    "SyncBatchNormAct": "BatchNormAct2d",
}
"""Batch norms that compute the same in evaluation mode. Those of several processes replace the others in training."""

_NO_EFFECT = re.compile(r"(, )?(inplace|momentum)=[^,]*")
"""Settings that do not change what a network computes in evaluation mode."""


def save_pretrained(
    model: nn.Module,
    directory: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    license: str = "other",
    metrics: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> Path:
    """Write a checkpoint for `create_model("local-dir:DIRECTORY")` and the Hugging Face Hub.

    The model of the config is built on "meta" and compared with the given one, so a model that was changed by hand
    after `create_model` is refused. All files are written to a temporary folder, read back and then renamed, the config
    last: a reader never sees part of a file, and an error while writing leaves the previous checkpoint.

    Args:
        model: made by `create_model`. Of a compiled model, DataParallel, DistributedDataParallel, or an average of
            weights, the model inside is saved.
        directory: created if missing. A checkpoint in it is replaced, other files stay.
        labels: name of each class. None: "salt" for one class, class_0, class_1, ... for several.
        license: licence of the weights, as the Hub identifies it: "apache-2.0", "cc-by-nc-4.0".
        metrics: scores, each with name, value, data and the conditions of its measurement, such as fold and
            seed. "dataset" is the name of the data on the Hub, "org/name".
        recipe: description of the training.
        dtype: "float32", "float16" for half the size, or "int8" for a quarter; loading always gives float32. With
            "float16", buffers (running statistics of norms) stay in float32, as does a parameter that would overflow
            or lose more than a thousandth of its norm. With "int8", filters of 64 values or more are stored in 8 bits
            with a scale for each filter, which changes them by about a hundredth of their norm, and all others as
            with "float16". Measure the score of what you saved.

    Returns:
        The directory.

    Raises:
        ValueError: if the model was not made by `create_model` or was changed since, a tensor has no plain numbers
            (meta, quantised, sparse), or a value cannot be written as JSON.
        FileExistsError: if the directory holds a README.md or config.json and no checkpoint.
        OSError: if the directory cannot be written.
    """
    check_choice("dtype", dtype, ("float32", "float16", "int8"))
    folder = Path(directory).expanduser()
    _check_folder(folder)
    plain = unwrapped(model)
    config = describe(plain, labels=labels, license=license, metrics=metrics, recipe=recipe)
    tensors = tensors_of(plain)
    check_plain(tensors, f"this {type(plain).__name__} cannot be saved")
    rebuilt = _rebuilt(plain, config_of(plain)[0])
    _check_same(plain, tensors, rebuilt)
    parameters = {name for name, _ in rebuilt.named_parameters(remove_duplicate=False)}
    stored = to_stored(tensors, parameters, dtype=dtype)
    files = {
        WEIGHTS: tensors_to_bytes(stored),
        CARD: model_card(config).encode(),
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
    }
    write_files(folder, files, check=partial(_check_written, config, stored))
    return folder


def _check_folder(folder: Path) -> None:
    """Raise FileExistsError if saving would replace files that do not belong to a checkpoint."""
    if (folder / WEIGHTS).exists():
        return
    for name in (CARD, CONFIG):
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} belongs to no checkpoint: move it, or choose another directory")


def _rebuilt(model: nn.Module, config: ModelConfig) -> nn.Module:
    """Return the model that `create_model` would build of a config, without values if its builder allows that.

    Raises:
        ValueError: if it cannot be built.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            spec = find_model(config.architecture)
            try:
                with torch.device("meta"):
                    built = build_model(spec, config.model_args)
            except (NotImplementedError, RuntimeError):  # a user's builder may compute with its tensors
                built = build_model(spec, config.model_args)
            return leave_out_heads(built) if config.mask_only else built
    except Exception as error:
        raise ValueError(
            f"this {type(model).__name__} cannot be saved, because create_model cannot build it again from its "
            f"config ({type(error).__name__}: {error}): register its builder with saltzoo.register_model, and do not "
            f"change model.config"
        ) from error


def _check_same(model: nn.Module, tensors: Mapping[str, Tensor], rebuilt: nn.Module) -> None:
    """Raise ValueError unless a model has the modules and tensors of the one that was built from its config."""
    found = [*_other_tensors(tensors, rebuilt.state_dict()), *_other_modules(_modules(model), _modules(rebuilt))]
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ValueError(
            f"this {type(model).__name__} cannot be saved, because create_model would build another model from its "
            f"config: {'; '.join(found[:_SHOWN])}{more}. It was changed after create_model: build it with the options "
            f"that give this model, or register a builder with saltzoo.register_model"
        )


def _other_tensors(tensors: Mapping[str, Tensor], built: Mapping[str, Tensor]) -> Iterator[str]:
    yield from (f"{key} is missing" for key in built if key not in tensors)
    for key, value in tensors.items():
        if key not in built:
            yield f"{key} is added"
        elif value.shape != built[key].shape:
            yield f"{key} is {tuple(value.shape)} and was built as {tuple(built[key].shape)}"
        elif value.dtype != built[key].dtype and not (value.is_floating_point() and built[key].is_floating_point()):
            yield f"{key} is {value.dtype} and was built as {built[key].dtype}"


def _other_modules(modules: Mapping[str, nn.Module], built: Mapping[str, nn.Module]) -> Iterator[str]:
    yield from (f"{name} is missing" for name in built if name not in modules)
    for name, module in modules.items():
        if name not in built:
            yield f"{name} ({type(module).__name__}) is added"
        elif _kind(module) != _kind(built[name]):
            yield f"{name} is a {type(module).__name__} and was built as a {type(built[name]).__name__}"
        elif _settings(module) != _settings(built[name]):
            yield f"{name} is {_words(module)} and was built as {_words(built[name])}"


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules by name, as they are without wrappers inside the model."""
    names = names_without_wrappers(model)
    return {names[name]: module for name, module in model.named_modules(remove_duplicate=False)}


def _kind(module: nn.Module) -> str:
    name = type(module).__name__
    return _SAME_AS.get(name, name)


def _settings(module: nn.Module) -> str:
    """Return what torch prints of a layer, without settings that matter in training only."""
    if not type(module).extra_repr.__module__.startswith("torch.nn.") or "Drop" in type(module).__name__:
        return ""
    return _NO_EFFECT.sub("", module.extra_repr())


def _words(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"


def _check_written(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Raise OSError unless a folder reads as it was meant."""
    read = load_folder(folder)
    if read.config != config or [*shapes_of(read.tensors)] != [*shapes_of(dequantized(tensors))]:
        raise OSError(f"{folder} does not read as it was written, and was removed: check the disk, and save again")
