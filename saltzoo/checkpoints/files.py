"""Write the files of a checkpoint whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .._files import whole_file, whole_folder


def write_files(folder: Path, files: Mapping[str, bytes], *, check: Callable[[Path], None]) -> None:
    """Write files to a folder, after reading them back. An error leaves everything as it was.

    Args:
        folder: created if missing, with its parents; files of other names in it stay.
        files: content by name, which may be "FOLDER/NAME"; the last is the one that makes the others valid.
        check: function of a temporary folder that raises if the files cannot be read as they were meant.

    Raises:
        OSError: if a file cannot be written.
    """
    with _explained(folder), whole_folder(folder, tuple(files)) as part:
        for name, content in files.items():
            with whole_file(part / name, overwrite=False) as file:
                file.write(content)
        check(part)


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
