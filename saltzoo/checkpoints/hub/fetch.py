"""load_from_hub: a checkpoint from the Hugging Face Hub, or from what its client keeps of it."""

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
    """Reads a checkpoint from the Hugging Face Hub, or from its cache: a commit that is there asks nobody.

    A file is checked by its hash when it is fetched. One that lies in the cache is only read: if it can't be, it is
    fetched once more; if its size is right and its tensors are not, nobody sees it but `hf cache verify REPO_ID`.

    Raises:
        ValueError: if the id is malformed or a file is not what it should be.
        OSError: if repository, revision or file do not exist, or can't be reached, or came damaged.
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
        # The folder is named after the commit: both files come from one, even if the branch moves meanwhile.
        commit = files[0].parent.name
    _log.info("weights of %s: from the %s, commit %s", source, "Hub" if fresh else "cache", commit)
    while True:
        try:
            return read_checkpoint(*files, source=source)
        except DamagedFileError as error:
            if error.file in fresh:
                raise ValueError(
                    f"{error.file} {error.why}, and so it is on the Hub: tell who made {repo_id}"
                ) from error
            _fetch_again(error, repo_id, cache_dir)
            fresh.add(error.file)


def _fetch_again(damaged: DamagedFileError, repo_id: str, cache_dir: str | None) -> None:
    """Replaces a file of the cache that can't be read. It stays where nothing better is to be had.

    Raises:
        OSError: if that can't be done.
    """
    name, commit = damaged.file.name, damaged.file.parent.name
    _log.warning("%s %s: fetching it once more", damaged.file, damaged.why)
    try:
        with fetching(repo_id, commit, name):
            hf_hub_download(repo_id, name, revision=commit, cache_dir=cache_dir, force_download=True, **CALLER)
    except OSError as error:
        raise OSError(
            f"{damaged.file.resolve()} {damaged.why}, and it can't be replaced now: {error}. It is replaced the next "
            f"time that the Hub can be reached; or delete that file"
        ) from error
    _verify(damaged.file)


def _verify(file: Path) -> None:
    """Checks a file that was just fetched by its hash, which a large file has for its name in the cache.

    Tensors whose bytes were changed on the way would load, and the client checks no more than the size.
    """
    # One step and no further: what bears the hash may itself be a link to content that repositories share.
    blob = file.parent / os.readlink(file) if file.is_symlink() else file
    if len(blob.name) != _SHA256_DIGITS:
        return
    content = blob.resolve()
    with open(content, "rb") as data:
        if hashlib.file_digest(data, "sha256").hexdigest() == blob.name:
            return
    # Left there, it would be taken for good the next time.
    for path in (file, blob, content):
        path.unlink(missing_ok=True)
    raise OSError(f"{file.name} was damaged on its way: its hash is not {blob.name}. It was removed: try again")
