"""network_view: a labelled picture as `predict_tiled` shows it to a network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._axis import Axis
from ._source import Normalize, Picture, Source


def network_view(
    picture: Picture,
    mask: npt.NDArray[np.bool_],
    *,
    tile: tuple[int, int],
    normalize: Normalize,
    polarity: int,
    scale: tuple[float, float],
    unknown: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the picture from which `predict_tiled` cuts tiles, in 8 bits, with its labels.

    Args:
        picture: H W.
        mask: H W, True for salt.
        tile: height and width of the tiles; a smaller picture is extended by reflection.
        normalize: as for `predict_tiled`, and so are polarity and scale.
        polarity: 1 or -1.
        scale: factors, vertical and horizontal.
        unknown: label of samples that are not finite and of dead traces.

    Returns:
        Picture and labels h w, where h and w are at least those of a tile: 0, 1 for salt, and `unknown`.
    """
    source = Source.of(picture, normalize=normalize, polarity=polarity, mean=0.5)
    labels = np.where(source.missing(0, mask.shape[0]), np.uint8(unknown), mask.astype(np.uint8))
    values = source.read(0, mask.shape[0])
    for axis, (size, side, factor) in enumerate(zip(mask.shape, tile, scale, strict=True)):
        taps = Axis.of(size, tile=side, stride=side, blend="crop", scale=factor).to_canvas
        values = taps.apply(values, axis)
        nearest = np.take_along_axis(taps.samples, taps.weights.argmax(1)[:, None], 1)[:, 0]
        labels = labels.take(nearest, axis)
    return np.rint(255 * values).astype(np.uint8), labels
