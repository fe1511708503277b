"""What the command takes from the library for prediction, clean-up and submissions: one function each."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..inference import predict
from ..models import Segmenter

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """How probabilities are computed, in the words of `predict_tiled`.

    Attributes:
        tta: test-time augmentation.
        tile: height and width of a tile; None for the model's.
        overlap: fraction of a tile that its neighbour covers, too.
        batch_size: tiles in a batch.
        scale: factors (z, x) by which a picture is resized for the model.
        polarity: 1, or -1 for pictures whose black is the training tiles' white.
        normalize: "image" for gray levels, "survey" for amplitudes.
    """

    tta: str | None = None
    tile: int | None = None
    overlap: float = 0.5
    batch_size: int = 16
    scale: tuple[float, float] = (1.0, 1.0)
    polarity: int = 1
    normalize: str = "image"


def probabilities_of(model: Segmenter, picture: Array, how: Prediction) -> Array:
    """Return the probabilities of one picture H W, float32 H W."""
    whole = Prediction(tta=how.tta, batch_size=how.batch_size)
    if how != whole:
        raise ValueError("tile, overlap, scale, polarity and normalize must be their defaults in this version")
    return predict(model, picture, tta=how.tta, batch_size=how.batch_size)


def cleaned(mask: npt.NDArray[np.bool_], *, min_size: int, fill_holes: int) -> npt.NDArray[np.bool_]:
    """Return a mask H W without small bodies and holes."""
    if min_size or fill_holes:
        raise ValueError("min_size and fill_holes must be 0 in this version")
    return mask


def defaults_of(model: Segmenter) -> tuple[float, int]:
    """Return the threshold and the pixels of the smallest body that a model was made for."""
    del model
    return 0.5, 0


def write_submission(path: Path, ids: Sequence[str], masks: npt.NDArray[np.bool_], *, overwrite: bool = False) -> None:
    """Write a submission file of the TGS Salt challenge from masks N H W.

    Raises:
        FileExistsError: if the file is there and `overwrite` is False.
    """
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} is there already: choose another, or allow it to be replaced")
    text = io.StringIO()
    text.write("id,rle_mask\n")
    for id_, mask in zip(ids, masks, strict=True):
        edges = np.flatnonzero(np.diff(np.pad(mask.T.reshape(-1).astype(np.int8), 1))) + 1
        runs = [f"{start} {end - start}" for start, end in edges.reshape(-1, 2).tolist()]
        text.write(f"{id_},{' '.join(runs)}\n")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text.getvalue(), encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
