"""Where weights are: in the package, on disk, in the Hub's cache or on the Hub."""

from __future__ import annotations

import logging
from pathlib import Path

from . import __version__
from .checkpoint import WEIGHTS, Checkpoint, load_folder
from .hub import load_from_hub
from .registry import find_weights
from .spec import WeightsSpec

SCHEMES = ("local-dir:", "hf-hub:")

BUNDLED = Path(__file__).parent / "pretrained"
"""Weights that come with the package: a checkpoint's folder for each name with its tag. It may be missing."""

_log = logging.getLogger("saltzoo")


def load_weights(name: str, *, cache_dir: str | None = None) -> Checkpoint:
    """Reads weights by their name or from a source, as `create_model` takes them. It builds no model.

    Args:
        name: "unet_resnet34_scse.tgs", or "unet_resnet34_scse" for its first tag; "local-dir:PATH"; or
            "hf-hub:org/name[@revision]".
        cache_dir: where downloads are kept; None for the Hugging Face client's own place.

    Raises:
        ValueError: if no weights have that name, or what is there is not a checkpoint.
        OSError: if they are not there, or can't be reached.
    """
    scheme, _, place = name.partition(":")
    if scheme == "local-dir":
        return load_folder(place)
    if scheme == "hf-hub":
        repo_id, _, revision = place.partition("@")
        return load_from_hub(repo_id, revision=revision or None, cache_dir=cache_dir)
    return _load_published(find_weights(name), cache_dir)


def _load_published(weights: WeightsSpec, cache_dir: str | None) -> Checkpoint:
    """Reads the weights of a catalog row: from the package if it has them, else from the Hub's cache, else the Hub.

    Which it was is said in the log "saltzoo", at level INFO.
    """
    folder = BUNDLED / weights.name
    if (folder / WEIGHTS).is_file():
        checkpoint = load_folder(folder)
        _log.info("weights of %s: bundled with saltzoo %s, %s", weights.name, __version__, folder)
    else:
        checkpoint = _load_from_hub(weights, cache_dir)
    if checkpoint.architecture != weights.model:
        raise ValueError(
            f"{checkpoint.source} holds a {checkpoint.architecture!r}, not the weights of {weights.name!r}: correct "
            f"its catalog row"
        )
    return checkpoint


def _load_from_hub(weights: WeightsSpec, cache_dir: str | None) -> Checkpoint:
    try:
        return load_from_hub(weights.repo_id, revision=weights.revision, cache_dir=cache_dir)
    except OSError as error:
        if not weights.repo_id.startswith("saltzoo/"):
            raise
        raise OSError(
            f"{error}. Or take them from a clone of saltzoo's repository, which holds all of its weights: install it "
            f"with `pip install -e .`"
        ) from error
