"""load_from_hub: read a checkpoint from the Hub or from the client's cache, and repair the cache."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache

from ..folder import CONFIG, WEIGHTS, Checkpoint, DamagedFileError, read_checkpoint
from .client import CALLER, fetching

_SHA256_DIGITS = 64

_log = logging.getLogger("saltzoo")


def load_from_hub(repo_id: str, *, revision: str | None = None, cache_dir: str | None = None) -> Checkpoint:
    """Read a checkpoint from the Hub, or from the cache: for a commit that is cached, no request is sent.

    A downloaded file is checked against its hash. A cached file is not: if it cannot be read, it is fetched again, but
    changed numbers in a file of the right size go unnoticed. `hf cache verify REPO_ID` finds them.

    Raises:
        ValueError: if the id is malformed, or a file is damaged or not part of a saltzoo checkpoint.
        OSError: if the repository, revision or file does not exist, cannot be reached, or was damaged in transit.
    """
    source = f"hf-hub:{repo_id}@{revision}" if revision else f"hf-hub:{repo_id}"
    files: list[Path] = []
    fresh: set[Path] = set()
    commit = revision
    for name in (CONFIG, WEIGHTS):
        with fetching(repo_id, revision, name):
            known = try_to_load_from_cache(repo_id, name, cache_dir=cache_dir, revision=commit)
            file = Path(hf_hub_download(repo_id, name, revision=commit, cache_dir=cache_dir, **CALLER))
        if not isinstance(known, str) or not file.samefile(known):
            _verify(file)
            fresh.add(file)
        files.append(file)
        # The folder is named after the commit. Asking for that makes both files of one commit if the branch moves.
        commit = files[0].parent.name
    _log.info("weights of %s: from the %s, commit %s", source, "Hub" if fresh else "cache", commit)
    while True:  # at most three times: each file is fetched again once
        try:
            return read_checkpoint(*files, source=source)
        except DamagedFileError as error:
            if error.file in fresh:
                raise ValueError(
                    f"{error.file} {error.why}, and so is the file on the Hub: tell the owner of {repo_id}"
                ) from error
            _fetch_again(error, repo_id, cache_dir)
            fresh.add(error.file)


def _fetch_again(damaged: DamagedFileError, repo_id: str, cache_dir: str | None) -> None:
    """Replace a cached file that cannot be read. If no other can be fetched, it stays.

    Raises:
        OSError: if it cannot be replaced.
    """
    name, commit = damaged.file.name, damaged.file.parent.name
    _log.warning("%s %s: fetching it again", damaged.file, damaged.why)
    try:
        with fetching(repo_id, commit, name):
            hf_hub_download(repo_id, name, revision=commit, cache_dir=cache_dir, force_download=True, **CALLER)
    except OSError as error:
        raise OSError(
            f"{damaged.file.resolve()} {damaged.why}, and it cannot be replaced now: {error}. It will be replaced when "
            f"the Hub can be reached; or delete that file"
        ) from error
    _verify(damaged.file)


def _verify(file: Path) -> None:
    """Compare a file that was just fetched with its SHA-256, which is the name of a large file in the cache.

    The client compares only sizes, and safetensors would load tensors whose bytes were changed in transit.

    Raises:
        OSError: if the hash differs. The file is removed first, or it would be taken as good the next time.
    """
    # Follow one link only: the file that is named after its hash may itself be a link to content shared between
    # repositories.
    blob = file.parent / os.readlink(file) if file.is_symlink() else file
    if len(blob.name) != _SHA256_DIGITS:
        return
    content = blob.resolve()
    with open(content, "rb") as data:
        if hashlib.file_digest(data, "sha256").hexdigest() == blob.name:
            return
    for path in (file, blob, content):
        path.unlink(missing_ok=True)
    raise OSError(f"{file.name} was damaged in transit: its hash is not {blob.name}. It was removed: try again")
