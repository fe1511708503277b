"""Checkpoints: folders of config.json, model.safetensors and README.md, on disk and on the Hugging Face Hub.

The only file that imports huggingface_hub and safetensors. It reads and writes tensors; it builds no network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from . import __version__
from .card import model_card
from .preprocess import Preprocess

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds.

    Attributes:
        architecture: the model's name in the registry.
        model_args: everything else that `create_model` needs to build it.
        preprocess: how images become its input.
        tensors: its state dict.
        config: all of config.json.
    """

    architecture: str
    model_args: dict[str, Any]
    preprocess: Preprocess
    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(repr=False)


class SavableModel(Protocol):
    """What `save_pretrained` needs of a model; every `create_model` makes one."""

    config: Any
    preprocess: Preprocess

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors to save."""


def save_pretrained(
    model: SavableModel,
    directory: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    license: str = "other",
    metrics: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a checkpoint that `create_model("local-dir:DIRECTORY")` and the Hugging Face Hub read.

    All files are written beside their places and then moved there, the config last: a reader never sees half a
    file, and a failure to write leaves what was there.

    Args:
        model: made by `create_model`.
        directory: made if it is missing; a checkpoint there is replaced, other files stay.
        labels: a name for each class. None: "salt", or class_0, class_1, ... if there are several.
        license: an identifier of the Hub, such as "apache-2.0" or "cc-by-nc-4.0", of the weights.
        metrics: one dict a score: name, value, data, and what else tells how it was measured (fold, seed).
        recipe: how it was trained.

    Returns:
        The directory.

    Raises:
        ValueError: if the model was not made by `create_model`, or a value can't be written as JSON.
        OSError: if the directory can't be written.
    """
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
        config_text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"config.json holds only plain finite values: {error}; got {config}") from error
    if json.loads(config_text) != config:
        raise ValueError(f"config.json would change these values (tuples become lists, keys strings): {config}")
    # channels_last weights are not contiguous, and safetensors takes no others.
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    folder = Path(directory)
    weights = save(tensors, metadata={"format": "pt"})
    files = {WEIGHTS: weights, CARD: model_card(config).encode(), CONFIG: config_text.encode()}
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder, files)
    return folder


def load_checkpoint(source: str, *, cache_dir: str | None = None) -> Checkpoint:
    """Reads "local-dir:PATH" or "hf-hub:org/name[@revision]".

    Raises:
        ValueError: if the source or what it holds is not a checkpoint.
        OSError: if it is not there, or can't be reached.
    """
    scheme, _, place = source.partition(":")
    if scheme == "local-dir":
        return load_folder(place)
    if scheme == "hf-hub":
        repo_id, _, revision = place.partition("@")
        return load_from_hub(repo_id, revision=revision or None, cache_dir=cache_dir)
    raise ValueError(f"unknown source {source!r}: use local-dir:PATH or hf-hub:org/name[@revision]")


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
            raise FileNotFoundError(f"no {name} in {folder}. {_what_is_there(os.listdir(folder))}")
    return _read(folder / CONFIG, folder / WEIGHTS)


def load_from_hub(repo_id: str, *, revision: str | None = None, cache_dir: str | None = None) -> Checkpoint:
    """Reads a checkpoint from the Hugging Face Hub, or from its cache.

    Raises:
        ValueError: if the id is malformed or a file is not what it should be.
        OSError: if repository, revision or file do not exist, or can't be reached.
    """
    files = []
    commit = revision
    for name in (CONFIG, WEIGHTS):
        try:
            path = hf_hub_download(
                repo_id,
                name,
                revision=commit,
                cache_dir=cache_dir,
                library_name="saltzoo",
                library_version=__version__,
            )
        except HFValidationError as error:
            raise ValueError(f"not a repository of the Hub: {repo_id!r} (expected org/name): {error}") from error
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            raise OSError(_why_not(error, repo_id, name, revision)) from error
        files.append(Path(path))
        # The folder is named after the commit: both files come from one, even if the branch moves meanwhile.
        commit = files[0].parent.name
    return _read(*files)


def _why_not(error: Exception, repo_id: str, name: str, revision: str | None) -> str:
    where = f"{repo_id}@{revision or 'main'}"
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated: ask for access on its page, then log in with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return f"no repository {repo_id} on the Hub, or it is private: check the name, or log in with `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no revision {revision!r}: use a branch, a tag or a commit of it"
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"{name} of {where} is not in the cache, and the Hub was not asked or did not answer: "
            f"check the network and HF_HUB_OFFLINE, or the cache_dir"
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return f"{where} has no {name}, so it is no checkpoint of saltzoo"
    return f"{name} of {where} could not be fetched: {error}"


def _what_is_there(names: Sequence[str]) -> str:
    pickles = sorted(name for name in names if name.endswith(_PICKLES))
    if pickles:
        return (
            f"{', '.join(pickles)} may hold pickled code, which saltzoo never reads: load it yourself with "
            f"torch.load(..., weights_only=True), put it into a model of create_model, and save_pretrained that"
        )
    return f"It holds {sorted(names) or 'nothing'}: give a folder that save_pretrained or examples/train.py wrote"


def _read(config_file: Path, weights_file: Path) -> Checkpoint:
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{config_file} is not JSON ({error}): fetch or save the checkpoint again") from error
    needed = {"architecture": str, "model_args": dict, "preprocess": dict}
    if not isinstance(config, dict) or not all(isinstance(config.get(key), kind) for key, kind in needed.items()):
        raise ValueError(f"{config_file} is not a saltzoo config: it needs {', '.join(needed)}")
    try:
        tensors = load_file(weights_file)
    except SafetensorError as error:
        raise ValueError(f"{weights_file} is damaged or cut short ({error}): fetch or save it again") from error
    return Checkpoint(
        architecture=config["architecture"],
        model_args=config["model_args"],
        preprocess=Preprocess.from_dict(config["preprocess"]),
        tensors=tensors,
        config=config,
    )


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
