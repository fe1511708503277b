"""Write a whole file or folder or none: it gets its name when it is complete. Give back memory of mapped files."""

from __future__ import annotations

import errno
import glob
import io
import mmap
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors for a full disk and for a user's quota."""


def check_absent(path: Path) -> None:
    """Raise FileExistsError if a file, folder or link has this path."""
    if os.path.lexists(path):
        raise _there(path)


def _there(path: Path) -> FileExistsError:
    return FileExistsError(
        f"{path} is there already: move it, choose another, or replace it (overwrite=True, --overwrite)"
    )


@contextmanager
def whole_file(path: Path, *, overwrite: bool, parents: bool = True) -> Iterator[io.BufferedRandom]:
    """Open a hidden temporary file beside `path`, which gets its name when the block ends without an error.

    After an error, the file that was there before is unchanged, and no part of the new
    one is left; a kill may leave `.NAME.HEX.part`. Through a link, the file that it leads to is replaced, and the
    temporary file is beside that one. A file that is replaced hands its permissions to the new one.

    Args:
        path: file.
        overwrite: whether a file that is there is replaced.
        parents: whether missing folders are created.

    Raises:
        FileExistsError: if the file is there, or appears meanwhile, and is not to be replaced.
        OSError: if the file cannot be written, also where the writer in the block (torch.save) raises another error.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder) / "a.txt", overwrite=False) as file:
        ...         _ = file.write(b"all of it")
        ...     (Path(folder) / "a.txt").read_text()
        'all of it'
    """
    if not overwrite:
        check_absent(path)
    path = _end_of(path)
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    file = _Watched(io.FileIO(part, "w+"))  # writers of TIFF files read, too
    if overwrite:
        _hand_permissions(path, part)  # before there is content that others must not read
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        give_name(part, path, overwrite=overwrite)
    except BaseException as error:
        if file.error is not None:
            raise OSError(file.error.errno, file.error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield a hidden temporary folder, whose files are moved to `path` when the block ends without an error.

    A new folder appears with all of its files at once. In one that is there, the named files are replaced one after
    another, and others stay. After an error in the block, nothing has changed; no part of the new files is left. Should
    a replacement itself fail, files before it are new, but not the last one.

    Args:
        path: folder; it and its parents are created.
        names: files that the block writes, NAME or FOLDER/NAME; the last is the one that makes the others valid.

    Raises:
        OSError: if the files cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     with whole_folder(Path(parent) / "a" / "b", ["c.txt"]) as folder:
        ...         _ = (folder / "c.txt").write_text("all of it")
        ...     (Path(parent) / "a" / "b" / "c.txt").read_text()
        'all of it'
    """
    with _parents_of(path):
        new = not path.exists()
        part = (path.parent if new else path) / f".{path.name}.{uuid.uuid4().hex}.part"
        try:
            part.mkdir()
            yield part
            for name in names:
                if (path / name).is_dir():
                    raise IsADirectoryError(errno.EISDIR, f"{name} is a folder")
            if not (new and _is_named(part, path)):
                for name in names:
                    (path / name).parent.mkdir(exist_ok=True)
                    give_name(part / name, path / name, overwrite=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def give_name(part: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete temporary file or folder its name.

    If several processes claim one name without overwriting, one succeeds, except on disks without hard links, where the
    check and the renaming are two steps. A file that replaces another keeps the permissions of that one. A
    folder replaces what is there in two steps.

    Raises:
        FileExistsError: if the name is taken, perhaps since the file was begun, and is not to be replaced.
    """
    if part.is_dir():
        _name_folder(part, path, overwrite=overwrite)
    elif overwrite:
        _hand_permissions(path, part)
        os.replace(part, path)
    else:
        try:
            os.link(part, path)
        except FileExistsError:
            raise _there(path) from None
        except OSError:
            check_absent(path)
            os.replace(part, path)
        else:
            part.unlink()


def _name_folder(part: Path, path: Path, *, overwrite: bool) -> None:
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex}.old")
    if not overwrite:
        check_absent(path)
    elif os.path.lexists(path):
        os.rename(path, old)
    try:
        os.rename(part, path)
    except OSError as error:
        if os.path.lexists(old):
            os.rename(old, path)
            raise
        if not os.path.lexists(path):
            raise
        raise _there(path) from error
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)


def _hand_permissions(path: Path, part: Path) -> None:
    """Give the temporary file the permissions of the file that it will replace."""
    with suppress(OSError):  # there is no such file, or the disk knows no permissions
        shutil.copymode(path, part)


def remove_parts(path: Path) -> None:
    """Remove the temporary files of `path` that killed processes left. No other process may be writing it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     left = Path(folder) / ".a.npy.4711.part"
        ...     left.touch()
        ...     remove_parts(Path(folder) / "a.npy")
        ...     left.exists()
        False
    """
    path = _end_of(path)
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        part.unlink(missing_ok=True)


def release(array: object) -> None:
    """Let the system take back the pages of a memory-mapped file, which otherwise count as this process's memory.

    Nothing is lost: the pages are those of the file. A private map (mode "c") may hold changes, and is left alone.
    """
    if sys.platform == "win32" or not isinstance(array, np.memmap) or array.mode not in ("r", "r+", "w+"):
        return
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def _end_of(path: Path) -> Path:
    """Return the file that a link leads to, or the path itself."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is_named(part: Path, folder: Path) -> bool:
    """Give a folder its name, unless someone else made a folder of that name in the meantime."""
    try:
        os.rename(part, folder)
    except OSError:
        if not folder.is_dir():
            raise
        return False
    return True


@contextmanager
def _parents_of(folder: Path) -> Iterator[None]:
    """Create the parents of a folder, and remove the new ones if the block raises."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for parent in missing:  # the innermost first
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise


class _Watched(io.BufferedRandom):
    """A file that remembers the error of a failed write."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise
