"""Pseudo-labels in the folder of a run, so that it resumes without its teachers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..data import Tiles
from .files import replaced

LABELS = "pseudo_labels.npz"


def digest_of(labels: Tiles) -> str:
    """Return a digest of the ids and masks of pseudo-labelled tiles."""
    return _digest(np.array(labels.ids), _packed(labels.require_masks()))


def write_labels(out: Path, labels: Tiles) -> None:
    """Write the ids and the masks, as bits, of pseudo-labelled tiles.

    Raises:
        OSError: if the file cannot be written.
    """
    with replaced(out / LABELS) as file:
        np.savez_compressed(file, ids=np.array(labels.ids), masks=_packed(labels.require_masks()))


def read_labels(out: Path, unlabelled: Tiles, digest: str) -> Tiles | None:
    """Return the pseudo-labelled tiles of a run's folder, or None if the file with this digest is not there.

    Args:
        out: folder of the run.
        unlabelled: the tiles that were labelled.
        digest: digest of the labels, from the run's state.
    """
    try:
        with np.load(out / LABELS, allow_pickle=False) as file:
            ids, packed = file["ids"], file["masks"]
    except (OSError, ValueError, KeyError, EOFError):
        return None  # missing or damaged: the teachers can make them again
    if _digest(ids, packed) != digest:
        return None
    at = {id_: position for position, id_ in enumerate(unlabelled.ids)}
    kept = unlabelled.select(np.array([at[id_] for id_ in ids.tolist()], dtype=np.int64))
    pixels = kept.images[0].size
    masks = np.unpackbits(packed, axis=1, count=pixels).astype(bool).reshape(kept.images.shape)
    return replace(kept, masks=masks)


def _packed(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return masks N H W as bits, N bytes."""
    return np.packbits(masks.reshape(len(masks), -1), axis=1)


def _digest(ids: npt.NDArray[np.str_], packed: npt.NDArray[np.uint8]) -> str:
    digest = hashlib.sha256("\n".join(ids.tolist()).encode())
    digest.update(np.ascontiguousarray(packed).tobytes())
    return digest.hexdigest()[:16]
