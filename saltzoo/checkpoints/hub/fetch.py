"""load_from_hub: read a checkpoint from the Hub or from the client's cache, and repair the cache."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache

from ..ensemble import EnsembleCheckpoint, members_in, read_ensemble
from ..folder import CONFIG, WEIGHTS, Checkpoint, DamagedFileError, read_checkpoint, read_config
from .client import CALLER, fetching

_SHA256_DIGITS = 64

_log = logging.getLogger("saltzoo")


def load_from_hub(
    repo_id: str, *, revision: str | None = None, cache_dir: str | None = None
) -> Checkpoint | EnsembleCheckpoint:
    """Read a checkpoint, or an ensemble, from the Hub or from the cache: no request is sent for a cached commit.

    A downloaded file is checked against its hash. A cached file is not: if it cannot be read, it is fetched again, but
    changed numbers in a file of the right size go unnoticed. `hf cache verify REPO_ID` finds them.

    Raises:
        ValueError: if the id is malformed, or a file is damaged or not part of a saltzoo checkpoint.
        OSError: if the repository, revision or file does not exist, cannot be reached, or was damaged in transit.
    """
    source = f"hf-hub:{repo_id}@{revision}" if revision else f"hf-hub:{repo_id}"
    snapshot = _Snapshot(repo_id, revision, cache_dir)
    config_file = snapshot.file(CONFIG)
    members = members_in(config_file, source)
    pairs = [(snapshot.file(f"{name}/{CONFIG}"), snapshot.file(f"{name}/{WEIGHTS}")) for name in members]
    weights_file = config_file if members else snapshot.file(WEIGHTS)
    place = "Hub" if snapshot.fresh else "cache"
    _log.info("weights of %s: from the %s, commit %s", source, place, config_file.parent.name)
    while True:  # each file is fetched again at most once
        try:
            if members:
                return read_ensemble(read_config(config_file, source=source), pairs, source=source)
            return read_checkpoint(config_file, weights_file, source=source)
        except DamagedFileError as error:
            if error.file in snapshot.fresh:
                raise ValueError(
                    f"{error.file} {error.why}, and so is the file on the Hub: tell the owner of {repo_id}"
                ) from error
            snapshot.fetch_again(error)


class _Snapshot:
    """Files of one commit of a repository, in the cache.

    Attributes:
        fresh: files that were downloaded, not only found.
    """

    def __init__(self, repo_id: str, revision: str | None, cache_dir: str | None) -> None:
        self._repo_id, self._revision, self._cache_dir = repo_id, revision, cache_dir
        self._commit = revision
        self._names: dict[Path, str] = {}
        self.fresh: set[Path] = set()

    def file(self, name: str) -> Path:
        """Return the place of a file of the repository, which is downloaded if it is not cached."""
        with fetching(self._repo_id, self._revision, name):
            known = try_to_load_from_cache(self._repo_id, name, cache_dir=self._cache_dir, revision=self._commit)
            file = self._download(name, self._commit)
        if not isinstance(known, str) or not file.samefile(known):
            _verify(file)
            self.fresh.add(file)
        if not self._names:
            # The folder is named after the commit. Asking for that makes all files of one commit if the branch moves.
            self._commit = file.parent.name
        self._names[file] = name
        return file

    def fetch_again(self, damaged: DamagedFileError) -> None:
        """Replace a cached file that cannot be read. If no other can be fetched, it stays.

        Raises:
            OSError: if it cannot be replaced.
        """
        name = self._names[damaged.file]
        _log.warning("%s %s: fetching it again", damaged.file, damaged.why)
        try:
            with fetching(self._repo_id, self._commit, name):
                self._download(name, self._commit, force=True)
        except OSError as error:
            raise OSError(
                f"{damaged.file.resolve()} {damaged.why}, and it cannot be replaced now: {error}. It will be replaced "
                f"when the Hub can be reached; or delete that file"
            ) from error
        _verify(damaged.file)
        self.fresh.add(damaged.file)

    def _download(self, name: str, commit: str | None, *, force: bool = False) -> Path:
        place, cache = self._repo_id, self._cache_dir
        return Path(hf_hub_download(place, name, revision=commit, cache_dir=cache, force_download=force, **CALLER))


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
