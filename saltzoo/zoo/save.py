"""save_pretrained: write a checkpoint, after checking that create_model gives the same model back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import check_choice
from .._torch import same_results, unwrapped
from ..checkpoints.card import model_card
from ..checkpoints.config import config_of, describe
from ..checkpoints.files import write_files
from ..checkpoints.folder import CARD, CONFIG, WEIGHTS, load_folder, tensors_to_bytes
from ..checkpoints.quantized import dequantized
from ..checkpoints.tensors import check_plain, shapes_of, tensors_of, to_stored
from .build import build_model
from .differences import other_modules, patched
from .registry import find_model
from .restore import leave_out_heads

_SHOWN = 3


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

    The model of the config is built and compared with the given one, its modules and its results on random images, so
    a model that was changed by hand after `create_model` is refused. Hooks and a replaced `forward` are not saved;
    those that leave the results as they are may stay. All files are written to a temporary folder, read back and then
    renamed, the config last: a reader never sees part of a file, and an error while writing leaves the previous
    checkpoint.

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
    rebuilt = _rebuilt(plain, "meta")
    _check_same(plain, tensors, rebuilt)
    _check_results(plain, tensors, rebuilt)
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


def _rebuilt(model: nn.Module, device: str) -> nn.Module:
    """Return the model that `create_model` would build of a model's config; on "meta" it has no values if it can.

    Raises:
        ValueError: if it cannot be built.
    """
    config = config_of(model)[0]
    try:
        with torch.random.fork_rng(devices=[]):
            spec = find_model(config.architecture)
            try:
                with torch.device(device):
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
    found = [*_other_tensors(tensors, rebuilt.state_dict()), *other_modules(model, rebuilt)]
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ValueError(
            f"this {type(model).__name__} cannot be saved, because create_model would build another model from its "
            f"config: {'; '.join(found[:_SHOWN])}{more}. It was changed after create_model: build it with the options "
            f"that give this model, or register a builder with saltzoo.register_model"
        )


def _check_results(model: nn.Module, tensors: Mapping[str, Tensor], rebuilt: nn.Module) -> None:
    """Raise ValueError unless the model that was built from a model's config has the same results with its tensors."""
    channels = config_of(model)[1].in_chans
    same = same_results(model, rebuilt, channels=channels, tensors=tensors)
    if not same:  # it may compute with more than its state dict, which has no values on "meta"
        same = same_results(model, _rebuilt(model, "cpu"), channels=channels, tensors=tensors)
    found = list(patched(model, rebuilt))
    if same is False or (same is None and found):
        what = "; ".join(found[:_SHOWN]) or "an attribute, or a tensor that is not in the state dict, has another value"
        raise ValueError(
            f"this {type(model).__name__} cannot be saved, because the model that create_model would build from its "
            f"config has other results: {what}. A checkpoint holds tensors and options of create_model alone: undo the "
            f"change before saving and make it again after loading, or register a builder with saltzoo.register_model"
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


def _check_written(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Raise OSError unless a folder reads as it was meant."""
    read = load_folder(folder)
    if read.config != config or [*shapes_of(read.tensors)] != [*shapes_of(dequantized(tensors))]:
        raise OSError(f"{folder} does not read as it was written, and was removed: check the disk, and save again")
