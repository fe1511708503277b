"""Write the files of a checkpoint whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def write_files(folder: Path, files: Mapping[str, bytes], *, check: Callable[[Path], None]) -> None:
    """Write files to a folder, after reading them back.

    All files are first written to a temporary folder. If the folder is new, the temporary one gets its name; otherwise
    the files are renamed into it in the given order, and other files stay. An error leaves everything as it was.

    Args:
        folder: created if missing, with its parents.
        files: content by name, which may be "FOLDER/NAME"; the last is the one that makes the others valid.
        check: function of the temporary folder that raises if the files cannot be read as they were meant.

    Raises:
        OSError: if a file cannot be written.
    """
    with _explained(folder), _parents_of(folder):
        new = not folder.exists()
        part = (folder.parent if new else folder) / f".{folder.name}.{uuid.uuid4().hex}.part"
        try:
            part.mkdir()
            for name, content in files.items():
                (part / name).parent.mkdir(exist_ok=True)
                with open(part / name, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            check(part)
            for name in files:
                if (folder / name).is_dir():
                    raise IsADirectoryError(errno.EISDIR, f"{name} is a folder")
            if not (new and _renamed(part, folder)):
                for name in files:
                    (folder / name).parent.mkdir(exist_ok=True)
                    os.replace(part / name, folder / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _renamed(part: Path, folder: Path) -> bool:
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


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by the check
            raise
        raise OSError(
            error.errno,
            f"{error.strerror or error}: the checkpoint could not be written, and nothing was changed; free space "
            f"there or choose another folder",
            str(folder),
        ) from error
