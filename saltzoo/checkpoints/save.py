"""save_pretrained: a model's configuration, tensors and card as a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .._checks import check_choice
from .._version import __version__
from ..preprocess import Preprocess
from .card import model_card
from .folder import CARD, CONFIG, WEIGHTS, tensors_to_bytes


class SavableModel(Protocol):
    """What `save_pretrained` needs of a model; every `create_model` makes one."""

    config: Any
    preprocess: Preprocess

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors to save."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Those of them that training changes."""


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
    """Writes a checkpoint that `create_model("local-dir:DIRECTORY")` and the Hugging Face Hub read.

    All files are written beside their places and then moved there, the config last: a reader never sees half a
    file, and a failure to write leaves what was there.

    Args:
        model: made by `create_model`.
        directory: made if it is missing; a checkpoint there is replaced, other files stay.
        labels: a name for each class. None: "salt", or class_0, class_1, ... if there are several.
        license: an identifier of the Hub, such as "apache-2.0" or "cc-by-nc-4.0", of the weights.
        metrics: one dict a score: name, value, data, and what else tells how it was measured (fold, seed). A
            "dataset" is the data's own name on the Hub, "org/name", if it is there.
        recipe: how it was trained.
        dtype: "float32", or "float16" for half the size: a model read from it is in float32 again. Of "float16",
            buffers (the running statistics of norms) stay in float32, and so does a parameter that would overflow
            or lose more than a thousandth of its norm.

    Returns:
        The directory.

    Raises:
        ValueError: if the model was not made by `create_model`, or a value can't be written as JSON.
        OSError: if the directory can't be written.
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
    if getattr(model, "config", None) is None:
        raise ValueError(
            f"this {type(model).__name__} has no config to save: only models made by create_model can be built again. "
            f"Register its builder with saltzoo.register_model and create it by name"
        )
    if not hasattr(model, "preprocess"):
        raise ValueError(
            f"this {type(model).__name__} does not say how images become its input: "
            f"set model.preprocess = saltzoo.Preprocess(...) first"
        )
    classes = model.config.model_args.get("num_classes", 1)
    names = list(labels) if labels else ["salt"] if classes == 1 else [f"class_{i}" for i in range(classes)]
    if len(names) != classes:
        raise ValueError(f"labels must name each of the model's {classes} class(es), got {names}")
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
    for metric in config["metrics"]:
        if not isinstance(metric.get("name"), str) or not isinstance(metric.get("value"), int | float):
            raise ValueError(f'a metric needs at least {{"name": "...", "value": a number}}, got {metric}')
    try:
        again = json.loads(json.dumps(config, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"config.json holds only plain finite values: {error}; got {config}") from error
    if again != config:
        raise ValueError(f"config.json would change these values (tuples become lists, keys strings): {config}")
    return config


def _tensors(model: SavableModel, *, halve: bool) -> dict[str, Tensor]:
    """The state dict as it is stored: contiguous (channels_last weights are not), in float32 or half of it."""
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
    """In half precision if it survives that; as it is if it overflows, or is too small for half's least numbers."""
    half = value.half()
    exact = value.double()
    lost = torch.linalg.vector_norm(half.double() - exact)
    return half if lost <= 1e-3 * torch.linalg.vector_norm(exact) else value


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes all files beside their places and only then moves them, so that a full disk leaves the old ones."""
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
