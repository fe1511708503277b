"""Digests of tiles: by them a resumed run recognises its tiles, in any order, and says which others it was given."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data import Tiles

SHOWN = 3
"""Number of ids that a message names."""


@dataclass(frozen=True)
class TileDigests:
    """What was true of each tile when a run began.

    Attributes:
        ids: N ids.
        columns: for each property ("image", "mask", "depth", "fold") N numbers: digests, or the folds themselves.
    """

    ids: tuple[str, ...]
    columns: Mapping[str, Tensor]

    @classmethod
    def of(cls, tiles: Tiles, *, folds: npt.NDArray[np.int64] | None = None, depths: bool = False) -> TileDigests:
        """Return the digests of tiles.

        Args:
            tiles: tiles, with masks if `folds` are given.
            folds: fold of each tile; None for unlabelled tiles, whose masks are not used.
            depths: whether the depths are used.
        """
        columns = {"image": _digests(tiles.images)}
        if folds is not None:
            columns |= {"mask": _digests(tiles.require_masks()), "fold": torch.from_numpy(folds.astype(np.int64))}
        if depths and tiles.depths is not None:
            columns["depth"] = _digests(tiles.depths.astype(np.float32))
        return cls(tiles.ids, columns)

    def to_state(self) -> dict[str, Any]:
        """Return plain values and tensors, for `from_state`."""
        return {"ids": list(self.ids), "columns": dict(self.columns)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> TileDigests:
        """Return the digests that `to_state` described."""
        return cls(tuple(state["ids"]), {name: column.cpu() for name, column in state["columns"].items()})

    def changes(self, now: TileDigests) -> list[str]:
        """Return how other tiles differ from these, in words: nothing if only the order does."""
        before, after = ({id_: i for i, id_ in enumerate(one.ids)} for one in (self, now))
        found = [
            _told("{} added", [id_ for id_ in now.ids if id_ not in before]),
            _told("{} gone", [id_ for id_ in self.ids if id_ not in after]),
        ]
        common = [id_ for id_ in self.ids if id_ in after]
        mine, theirs = (torch.tensor([of[id_] for id_ in common], dtype=torch.long) for of in (before, after))
        for name in [name for name in self.columns if name in now.columns]:
            differ = (self.columns[name][mine] != now.columns[name][theirs]).tolist()
            other = [id_ for id_, is_other in zip(common, differ, strict=True) if is_other]
            found.append(_told(f"{{}} with another {name}", other))
        return [words for words in found if words]


def _digests(values: npt.NDArray[Any]) -> Tensor:
    """Return a 64-bit digest of each item's values and shape, N int64."""
    shape = repr(values.shape[1:]).encode()
    found = [hashlib.blake2b(np.ascontiguousarray(one).tobytes(), digest_size=8, key=shape).digest() for one in values]
    return torch.from_numpy(np.frombuffer(b"".join(found), dtype="<i8").astype(np.int64))


def _told(words: str, ids: list[str]) -> str:
    """Return words with the number of tiles and some of their ids, or nothing for no tile."""
    if not ids:
        return ""
    names = ", ".join(sorted(ids)[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
    return f"{words.format(len(ids))} ({names})"
