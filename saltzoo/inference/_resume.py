"""State of a tiled prediction on disk: which strips are finished, and the sums that the next strip needs.

The state is a JSON file and a file of arrays beside it, which the JSON file names. Both are written under another name
and renamed, the JSON file last: whenever the process is killed, the JSON file names complete arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .._files import remove_parts, whole_file

Arrays = Sequence[npt.NDArray[Any]]


class Journal:
    """The state of one run.

    Args:
        path: JSON file; None to keep no state.
        run: everything that the result depends on, as plain values.
    """

    def __init__(self, path: Path | None, run: Mapping[str, Any]) -> None:
        self._path = path
        self._run = json.loads(json.dumps(run))

    def read(self) -> tuple[int, Arrays]:
        """Return the number of finished strips and the arrays of the last `write`; 0 and none without a state.

        Raises:
            ValueError: if the state is damaged or that of another run.
        """
        if self._path is None or not self._path.exists():
            return 0, ()
        try:
            state = json.loads(self._path.read_text(encoding="utf-8"))
            finished, run = int(state["finished"]), dict(state["run"])
            with open(self._path.with_name(state["arrays"]), "rb") as file:
                arrays = [np.lib.format.read_array(file, allow_pickle=False) for _ in range(state["count"])]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self._path} must be the state of a tiled prediction and is damaged ({error}): give resume=False"
            ) from error
        other = [name for name in {**self._run, **run} if self._run.get(name) != run.get(name)]
        if other:
            raise ValueError(
                f"{self._path} must be the state of this prediction, and differs in {', '.join(other)}: give what the "
                f"first run was given, or resume=False to start again"
            )
        return finished, arrays

    def write(self, finished: int, arrays: Arrays) -> None:
        """Replace the state."""
        if self._path is None:
            return
        name = f"{self._path.name}.{finished}.sums"
        with whole_file(self._path.with_name(name), overwrite=True) as file:
            for array in arrays:
                np.lib.format.write_array(file, array, allow_pickle=False)
        state = {"finished": finished, "arrays": name, "count": len(arrays), "run": self._run}
        with whole_file(self._path, overwrite=True) as file:
            file.write(json.dumps(state, indent=1).encode())
        self._remove_sums(keep=name)

    def remove(self) -> None:
        """Remove the state, if there is one."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._remove_sums()

    def _remove_sums(self, keep: str = "") -> None:
        assert self._path is not None
        prefix = f"{self._path.name}."
        for file in self._path.parent.iterdir():
            if file.name.startswith(prefix) and file.suffix == ".sums" and file.name != keep:
                file.unlink(missing_ok=True)
        remove_parts(self._path)  # and of the sums, whose names begin with its own


def digest_of(model: nn.Module) -> str:
    """Return a digest of a model's class and of its tensors with their names.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> before = digest_of(model)
        >>> _ = nn.init.ones_(model.weight)
        >>> before == digest_of(model), len(before)
        (False, 32)
    """
    digest = hashlib.blake2b(type(model).__qualname__.encode(), digest_size=16)
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
