"""load_from_hub: a checkpoint from the Hugging Face Hub, or from what its client keeps of it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache

from ..checkpoint import CONFIG, WEIGHTS, Checkpoint, read_checkpoint
from .client import CALLER, fetching

_SHA256_DIGITS = 64

_log = logging.getLogger("saltzoo")


def load_from_hub(repo_id: str, *, revision: str | None = None, cache_dir: str | None = None) -> Checkpoint:
    """Reads a checkpoint from the Hugging Face Hub, or from its cache: a commit that is there asks nobody.

    Raises:
        ValueError: if the id is malformed or a file is not what it should be.
        OSError: if repository, revision or file do not exist, or can't be reached, or came damaged.
    """
    source = f"hf-hub:{repo_id}@{revision}" if revision else f"hf-hub:{repo_id}"
    files: list[Path] = []
    where = "cache"
    commit = revision
    for name in (CONFIG, WEIGHTS):
        with fetching(repo_id, revision, name):
            known = try_to_load_from_cache(repo_id, name, cache_dir=cache_dir, revision=commit)
            file = Path(hf_hub_download(repo_id, name, revision=commit, cache_dir=cache_dir, **CALLER))
        if not isinstance(known, str) or not file.samefile(known):
            where = "Hub"
            _verify(file)
        files.append(file)
        # The folder is named after the commit: both files come from one, even if the branch moves meanwhile.
        commit = files[0].parent.name
    _log.info("weights of %s: from the %s, commit %s", source, where, commit)
    return read_checkpoint(*files, source=source)


def _verify(file: Path) -> None:
    """Checks a file that was just fetched by its hash, which a large file has for its name in the cache.

    Tensors whose bytes were changed on the way would load, and the client checks no more than the size.
    """
    blob = file.resolve()
    if len(blob.name) != _SHA256_DIGITS:
        return
    with open(blob, "rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() == blob.name:
            return
    # Left there, it would be taken for good the next time.
    file.unlink()
    blob.unlink(missing_ok=True)
    raise OSError(f"{file.name} was damaged on its way: its hash is not {blob.name}. It was removed: try again")
