"""Writer of the submission file of the TGS challenge."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..seismic.writers import whole_file
from .rle import rle_encode


def write_submission(
    path: str | os.PathLike[str], ids: Sequence[str], masks: npt.NDArray[np.bool_], *, overwrite: bool = False
) -> None:
    """Write masks as a table with the columns id and rle_mask.

    The file is complete or absent: it is written under another name in the same folder, and renamed at the end.

    Args:
        path: CSV file to write, in a folder that exists.
        ids: N unique names, as in `Tiles.ids`, without commas, quotes and line breaks.
        masks: N H W, bool, True for salt, in the size of the tiles (101 x 101 in the challenge).
        overwrite: whether to replace a file that exists.

    Raises:
        FileExistsError: if the file exists and `overwrite` is False.
        FileNotFoundError: if its folder does not exist.
        IsADirectoryError: if the path is that of a folder.
        TypeError: if the masks are not boolean, or `ids` is one string.
        ValueError: if the numbers of ids and masks differ, an id occurs twice or does not fit into the table, or the
            masks have another shape.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "submission.csv"
        ...     write_submission(file, ["a", "b"], np.eye(2, dtype=bool)[None] & np.array([1, 0], bool)[:, None, None])
        ...     print(file.read_text())
        id,rle_mask
        a,1 1 4 1
        b,
        <BLANKLINE>
    """
    if isinstance(ids, str):
        raise TypeError(f"ids must be a sequence of strings, got {ids!r:.80}: give Tiles.ids")
    target, names, array = Path(path), list(ids), np.asarray(masks)
    if array.ndim != 3 or len(array) != len(names):
        raise ValueError(
            f"masks must have shape (N, H, W) with one mask for each of {len(names)} ids, got {array.shape}: "
            "predict every tile once"
        )
    _check_names(names)
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder: give the path of a CSV file")
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(f"{target} exists: choose another path, or pass overwrite=True to replace it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} of {target.name} does not exist: create it")
    rows = [f"{name},{runs}\n" for name, runs in zip(names, rle_encode(array), strict=True)]
    with whole_file(target, overwrite=overwrite) as file:
        file.write("".join(["id,rle_mask\n", *rows]).encode())


def _check_names(names: Sequence[str]) -> None:
    for position, name in enumerate(names):
        if not isinstance(name, str) or not name or any(sign in name for sign in ',"\r\n'):
            raise ValueError(
                f"ids must be texts without commas, quotes and line breaks, got {name!r:.40} at position {position}: "
                "rename the tile"
            )
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"ids must be unique, got {twice!r} twice: give one mask a tile")
