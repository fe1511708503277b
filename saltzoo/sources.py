"""Where weights are: in the package, on disk, in the Hub's cache or on the Hub."""

from __future__ import annotations

import logging
from pathlib import Path

from . import __version__
from .checkpoint import WEIGHTS, Checkpoint, load_folder
from .hub import load_from_hub
from .spec import WeightsSpec

SCHEMES = ("local-dir:", "hf-hub:")

BUNDLED = Path(__file__).parent / "pretrained"
"""Weights that come with the package: a checkpoint's folder for each name with its tag. It may be missing."""

_log = logging.getLogger("saltzoo")


def load_source(source: str, *, cache_dir: str | None = None) -> Checkpoint:
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


def load_published(weights: WeightsSpec, *, cache_dir: str | None = None) -> Checkpoint:
    """Reads the weights of a catalog row: from the package if it has them, else from the Hub's cache, else the Hub.

    Which it was is said in the log "saltzoo", at level INFO.

    Raises:
        ValueError: if what is there is not a checkpoint, or one of another model.
        OSError: if it is nowhere, or the Hub can't be reached.
    """
    folder = BUNDLED / weights.name
    if (folder / WEIGHTS).is_file():
        checkpoint = load_folder(folder)
        _log.info("weights of %s: bundled with saltzoo %s, %s", weights.name, __version__, folder)
    else:
        checkpoint = load_from_hub(weights.repo_id, revision=weights.revision, cache_dir=cache_dir)
    if checkpoint.architecture != weights.model:
        raise ValueError(
            f"{checkpoint.source} holds a {checkpoint.architecture!r}, not the weights of {weights.name!r}: correct "
            f"its catalog row"
        )
    return checkpoint
