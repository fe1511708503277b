"""save_pretrained: write a model's config, tensors and card to a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .._checks import check_choice
from .._version import __version__
from ..contracts import ModelConfig
from ..preprocess import Preprocess
from .card import model_card
from .folder import CARD, CONFIG, WEIGHTS, tensors_to_bytes


@runtime_checkable
class SavableModel(Protocol):
    """What `save_pretrained` needs of a model. Every model of `create_model` is one.

    Attributes:
        config: how to build it again; None if it was not made by `create_model`.
        preprocess: how images become its input.
    """

    config: ModelConfig | None
    preprocess: Preprocess

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors to save."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The tensors that training changes."""


def save_pretrained(
    model: SavableModel,
    directory: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    license: str = "other",
    metrics: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> Path:
    """Write a checkpoint for `create_model("local-dir:DIRECTORY")` and the Hugging Face Hub.

    All files are written under temporary names and then renamed, the config last: a reader never sees part of a file,
    and an error while writing leaves the previous checkpoint.

    Args:
        model: made by `create_model`.
        directory: created if missing. A checkpoint in it is replaced, other files stay.
        labels: name of each class. None: "salt" for one class, class_0, class_1, ... for several.
        license: licence of the weights, as the Hub identifies it: "apache-2.0", "cc-by-nc-4.0".
        metrics: scores, each with name, value, data and whatever else tells how it was measured, such as fold and
            seed. "dataset" is the name of the data on the Hub, "org/name".
        recipe: how the model was trained.
        dtype: "float32", or "float16" for half the size; loading always gives float32. With "float16", buffers
            (running statistics of norms) stay in float32, as does a parameter that would overflow or lose more than a
            thousandth of its norm.

    Returns:
        The directory.

    Raises:
        ValueError: if the model was not made by `create_model`, or a value cannot be written as JSON.
        OSError: if the directory cannot be written.
    """
    check_choice("dtype", dtype, ("float32", "float16"))
    config = _config(model, labels, license, metrics, recipe)
    weights = tensors_to_bytes(_tensors(model, halve=dtype == "float16"))
    config_text = json.dumps(config, indent=2) + "\n"
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder, {WEIGHTS: weights, CARD: model_card(config).encode(), CONFIG: config_text.encode()})
    return folder


def _config(
    model: SavableModel,
    labels: Sequence[str] | None,
    license: str,
    metrics: Sequence[Mapping[str, Any]],
    recipe: Mapping[str, Any] | None,
) -> dict[str, Any]:
    if not isinstance(model, SavableModel) or model.config is None:
        raise ValueError(
            f"this {type(model).__name__} cannot be saved: it needs a config, which create_model sets (register its "
            f"builder with saltzoo.register_model and create it by name), and a preprocess (set "
            f"model.preprocess = saltzoo.Preprocess(...))"
        )
    classes = model.config.model_args.get("num_classes", 1)
    names = list(labels) if labels else ["salt"] if classes == 1 else [f"class_{i}" for i in range(classes)]
    if len(names) != classes:
        raise ValueError(f"labels must name each of the model's {classes} class(es), got {names}")
    for metric in metrics:
        if not isinstance(metric.get("name"), str) or not isinstance(metric.get("value"), int | float):
            raise ValueError(f'a metric needs at least {{"name": "...", "value": a number}}, got {metric}')
    config = {
        "architecture": model.config.architecture,
        "model_args": model.config.model_args,
        **({"mask_only": True} if model.config.mask_only else {}),
        "preprocess": model.preprocess.to_dict(),
        "labels": names,
        "saltzoo_version": __version__,
        "license": license,
        "metrics": [dict(metric) for metric in metrics],
        "recipe": dict(recipe or {}),
    }
    _check_json(config)
    return config


def _check_json(config: dict[str, Any]) -> None:
    """Raise ValueError unless JSON holds exactly these values."""
    try:
        again = json.loads(json.dumps(config, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"config.json holds only plain finite values: {error}; got {config}") from error
    if again != config:
        raise ValueError(f"config.json would change these values (tuples become lists, keys strings): {config}")


def _tensors(model: SavableModel, *, halve: bool) -> dict[str, Tensor]:
    """Return the state dict in float32 or float16, contiguous, as safetensors needs and channels_last is not."""
    parameters = {name for name, _ in model.named_parameters()}
    stored = {}
    for key, value in model.state_dict().items():
        tensor = value.detach().cpu().contiguous()
        if tensor.is_floating_point():
            tensor = tensor.float()
            if halve and key in parameters:
                tensor = _halved(tensor)
        stored[key] = tensor
    return stored


def _halved(value: Tensor) -> Tensor:
    """Return a tensor in float16, or unchanged if float16 overflows or is too coarse for it."""
    half = value.half()
    exact = value.double()
    lost = torch.linalg.vector_norm(half.double() - exact)
    return half if lost <= 1e-3 * torch.linalg.vector_norm(exact) else value


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files under temporary names before any is renamed, so that a full disk leaves the old files."""
    parts = {name: folder / f".{name}.{os.getpid()}.part" for name in files}
    try:
        for name, content in files.items():
            with open(parts[name], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for name, part in parts.items():
            os.replace(part, folder / name)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
