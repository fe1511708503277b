"""find_pictures: the files that a list of files, folders and shell patterns stands for."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from .pictures import SUFFIXES


def find_pictures(inputs: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the pictures that files, folders and shell patterns stand for, each once, in the order of `inputs`.

    A folder stands for the files in it that end as pictures do (`saltzoo.seismic.SUFFIXES`), sorted, without those
    whose names begin with a dot, and without the folders in it. A pattern, such as `lines/*.png` or `**/*.tif`, stands
    for the files that match it, sorted. Any other path stands for itself, whether the file is there or not.

    Raises:
        FileNotFoundError: if a folder holds no picture, or no file matches a pattern.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.png", "a.tif", "notes.txt"):
        ...         _ = Path(folder, name).write_bytes(b"")
        ...     [path.name for path in find_pictures([folder, f"{folder}/*.png"])]
        ['a.tif', 'b.png']
    """
    found: dict[str, Path] = {}
    for given in inputs:
        for path in _files_of(given):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _files_of(given: str | os.PathLike[str]) -> list[Path]:
    path = Path(given)
    if path.is_dir():
        files = [one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and not one.name.startswith(".")]
        files = sorted(one for one in files if one.is_file())
        if not files:
            raise FileNotFoundError(
                f"{path} holds no picture: give a folder of files {', '.join(sorted(SUFFIXES))}, or a pattern of others"
            )
        return files
    if os.path.lexists(path) or not glob.has_magic(os.fspath(given)):
        return [path]
    matches = [Path(name) for name in sorted(glob.glob(os.fspath(given), recursive=True))]
    files = [one for one in matches if one.is_file()]
    if not files:
        raise FileNotFoundError(f"no file matches {os.fspath(given)!r}: check the pattern, or give the files")
    return files
