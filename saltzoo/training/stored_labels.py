"""Pseudo-labels in the folder of a run, so that it resumes without its teachers.

The file is a line of JSON, the ids, and then the masks: eight pixels a byte, each mask from a new byte.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from .._files import whole_file
from ..data import Tiles

LABELS = "pseudo_labels.bin"


def digest_of(labels: Tiles) -> str:
    """Return a digest of the ids and masks of pseudo-labelled tiles."""
    return _digest(_content(labels))


def write_labels(out: Path, labels: Tiles) -> None:
    """Write the ids and the masks of pseudo-labelled tiles.

    Raises:
        OSError: if the file cannot be written.
    """
    with whole_file(out / LABELS, overwrite=True) as file:
        file.write(_content(labels))


def read_labels(out: Path, unlabelled: Tiles, digest: str) -> Tiles | None:
    """Return the pseudo-labelled tiles of a run's folder, or None if the file with this digest is not there.

    Args:
        out: folder of the run.
        unlabelled: the tiles that were labelled.
        digest: digest of the labels, from the run's state.
    """
    file = out / LABELS
    content = file.read_bytes() if file.exists() else b""
    if _digest(content) != digest:
        return None  # missing, damaged or of another run: the teachers can make them again
    line, _, packed = content.partition(b"\n")
    at = {id_: position for position, id_ in enumerate(unlabelled.ids)}
    kept = unlabelled.select(np.array([at[id_] for id_ in json.loads(line)], dtype=np.int64))
    rows = np.frombuffer(packed, dtype=np.uint8).reshape(len(kept), -1)
    masks = np.unpackbits(rows, axis=1, count=kept.images[0].size).astype(bool)
    return replace(kept, masks=masks.reshape(kept.images.shape))


def _content(labels: Tiles) -> bytes:
    packed = np.packbits(labels.require_masks().reshape(len(labels), -1), axis=1)
    return json.dumps(labels.ids).encode() + b"\n" + packed.tobytes()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
