"""Parse the first argument of `create_model`, and load the checkpoint it names. Names are split here only."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

from .._version import __version__
from ..checkpoints.ensemble import EnsembleCheckpoint, is_ensemble, load_any_folder
from ..checkpoints.folder import WEIGHTS, Checkpoint
from ..checkpoints.hub import load_from_hub
from .registry import find_model, find_weights
from .spec import ModelSpec, WeightsSpec

BUNDLED = Path(__file__).parents[1] / "pretrained"
"""Folder of bundled weights: a checkpoint's folder for each name with its tag. Folders may be missing."""

_log = logging.getLogger("saltzoo")


@dataclass(frozen=True)
class LocalFolder:
    """A checkpoint on disk: "local-dir:PATH"."""

    path: str


@dataclass(frozen=True)
class HubRepository:
    """A checkpoint on the Hugging Face Hub: "hf-hub:org/name" or "hf-hub:org/name@revision"."""

    repo_id: str
    revision: str | None


WeightsSource = WeightsSpec | LocalFolder | HubRepository
Source = ModelSpec | WeightsSource

HUB = "hf-hub:"
LOCAL = "local-dir:"


def has_tag(name: str) -> bool:
    """Return whether the name of a model is followed by a tag of weights."""
    return not name.startswith((HUB, LOCAL)) and "." in name


@overload
def parse_source(name: str, *, pretrained: Literal[True]) -> WeightsSource: ...
@overload
def parse_source(name: str, *, pretrained: bool) -> Source: ...
def parse_source(name: str, *, pretrained: bool) -> Source:
    """Return what a name stands for: a model without weights, or the place of weights.

    Args:
        name: "unet_resnet34_scse", "unet_resnet34_scse.tgs" (with a tag of weights), "local-dir:PATH" or
            "hf-hub:org/name[@revision]".
        pretrained: whether a model's name stands for its published weights.

    Raises:
        ValueError: if the model or the weights are unknown, or a tag is given without `pretrained`.

    Example:
        >>> parse_source("hf-hub:org/name@v2", pretrained=False)
        HubRepository(repo_id='org/name', revision='v2')
        >>> parse_source("saltnet_s.tgs", pretrained=True).repo_id
        'saltzoo/saltnet_s.tgs'
    """
    scheme, _, place = name.partition(":")
    if scheme == "local-dir":
        return LocalFolder(place)
    if scheme == "hf-hub":
        repo_id, _, revision = place.partition("@")
        return HubRepository(repo_id, revision or None)
    model, _, tag = name.partition(".")
    if pretrained:
        return find_weights(model, tag)
    spec = find_model(model)
    if tag:
        raise ValueError(f"{name!r} names weights: add pretrained=True, or use {model!r} for a model without weights")
    return spec


def load_weights(name: str, *, cache_dir: str | None = None) -> Checkpoint:
    """Read weights by name or source; see `parse_source`. No model is built.

    Args:
        name: a model's name, with or without a tag, or a source.
        cache_dir: folder for downloads. None: that of the Hugging Face client.

    Raises:
        ValueError: if no weights have that name, they are not a valid checkpoint, or they are those of an ensemble.
        OSError: if they are missing or cannot be reached.
    """
    checkpoint = load_checkpoint(parse_source(name, pretrained=True), cache_dir=cache_dir)
    if isinstance(checkpoint, EnsembleCheckpoint):
        places = ", ".join(member.source for member in checkpoint.members)
        raise ValueError(f"{name!r} is an ensemble, and one model is needed here: give one of its members, {places}")
    return checkpoint


def load_checkpoint(source: WeightsSource, *, cache_dir: str | None = None) -> Checkpoint | EnsembleCheckpoint:
    """Read the weights of a source from the package, a folder, the Hub's cache or the Hub.

    Published weights are searched in that order; the log "saltzoo" says at level INFO where they were found.

    Raises:
        ValueError: if they are not a valid checkpoint.
        OSError: if they are missing or cannot be reached.
    """
    if isinstance(source, LocalFolder):
        return load_any_folder(source.path)
    if isinstance(source, HubRepository):
        return load_from_hub(source.repo_id, revision=source.revision, cache_dir=cache_dir)
    return _load_published(source, cache_dir)


def _load_published(weights: WeightsSpec, cache_dir: str | None) -> Checkpoint | EnsembleCheckpoint:
    folder = BUNDLED / weights.name
    if (folder / WEIGHTS).is_file() or is_ensemble(folder):
        checkpoint = load_any_folder(folder)
        _log.info("weights of %s: bundled with saltzoo %s, %s", weights.name, __version__, folder)
    else:
        checkpoint = _load_from_hub(weights, cache_dir)
    for one in checkpoint.members if isinstance(checkpoint, EnsembleCheckpoint) else (checkpoint,):
        if one.architecture != weights.model:
            raise ValueError(
                f"{one.source} holds a {one.architecture!r}, not the weights of {weights.name!r}: correct its catalog "
                f"row"
            )
    return checkpoint


def _load_from_hub(weights: WeightsSpec, cache_dir: str | None) -> Checkpoint | EnsembleCheckpoint:
    try:
        return load_from_hub(weights.repo_id, revision=weights.revision, cache_dir=cache_dir)
    except OSError as error:
        if not weights.repo_id.startswith("saltzoo/"):
            raise
        raise OSError(
            f"{error}. Or take them from a clone of saltzoo's repository, which holds all its weights: install it "
            f"with `pip install -e .`"
        ) from error
