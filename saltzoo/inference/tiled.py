"""predict_tiled: probabilities of a picture of any size."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import check_counts
from ..contracts import SegmentationModel
from ._axis import Axis, Blend
from ._options import check_options, checked_picture, sides_of
from ._output import Output, Target, check_other_file, part_of
from ._resume import Journal, digest_of
from ._run import Run, Started
from ._source import Normalize, Picture, Source
from ._strips import Blender, Floats, Grid, StripReader, logits_of, tile_batches
from .inputs import scalars_of
from .tta import Mean, Transform

Progress = Callable[[int, int], object]


def predict_tiled(
    model: SegmentationModel,
    picture: Picture,
    *,
    out: Target = None,
    tile: int | tuple[int, int] | None = None,
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    tta: str | Sequence[Transform] | None = None,
    tta_mean: Mean = "probabilities",
    batch_size: int = 16,
    scale: tuple[float, float] = (1.0, 1.0),
    polarity: int = 1,
    normalize: Normalize = "image",
    scalar: float | None = None,
    fill: float = math.nan,
    progress: Progress | None = None,
    resume: bool | str | os.PathLike[str] = False,
) -> Any:
    """Return the probabilities of a picture of any size, computed tile by tile.

    Tiles lie in a grid. The last tile of a row or column is moved inward to end with the picture; only a picture
    smaller than a tile is extended, by reflection. The logits of overlapping tiles are averaged with weights. Memory
    holds one strip of tiles: a strip of rows, or of columns if the rows are very long. Finished strips are written
    to `out` at once.

    With blend="crop", the result of a convolutional network whose receptive radius is at most tile * overlap / 2
    equals that on the whole picture, if its strides divide the tile, tile * (1 - overlap) and the picture's height and
    width. Squeeze and excitation, scSE, pyramid pooling and other layers that see the whole tile give results that
    depend on the tile, so for them there is no such equality: blend="gaussian" makes the transition from tile to tile
    smooth, and blend="crop" shows a step where the overlap is cut.

    Args:
        model: saltzoo model in any mode, or any module with `preprocess` and a forward from images to logits.
        picture: gray picture (H, W) that slices like an array: numpy, a memory map, zarr, h5py.
        out: where the float32 probabilities go. None: a new array. A path that ends in .npy: a file that gets this
            name when it is complete, NAME.npy.part until then; a file of this name is replaced. An array that takes
            slices: any of the above.
        tile: height and width of the tiles, or both in one number; None for 101, the size of the training tiles.
        overlap: fraction of a tile that the next one covers too.
        blend: weights of overlapping tiles. "gaussian": a Gaussian with a deviation of an eighth of the tile; "crop":
            each pixel comes from the tile whose centre is nearest along each axis; "uniform": equal weights.
        tta: test-time augmentation of each tile, as for `predict`.
        tta_mean: what test-time augmentation averages, "probabilities" or "logits". Tiles are blended as logits.
        batch_size: number of tiles per batch.
        scale: factors (vertical, horizontal) by which the picture is resampled to look like the training tiles. The
            probabilities come back at the picture's size.
        polarity: 1, or -1 for a picture whose positive amplitudes are drawn dark where the training tiles' are light.
        normalize: how samples become values in 0..1. "image": as `predict` does, uint8 and uint16 by their full scale,
            floating point as it is. "survey": clip(124 + 28 (a - median) / deviation, 0, 255) / 255 for amplitudes a,
            with the median and 1.4826 times the median absolute deviation of about a million samples of the whole
            picture. Or the numbers (median, deviation), such as those of the survey that the picture is a section of.
        scalar: number of the picture for a model that reads one, such as its depth.
        fill: probability of samples that are NaN or infinite and of dead traces, columns without two different
            samples. They are no part of the statistics, and the network sees a mean value in their place.
        progress: called after each strip with the number of finished tiles and that of all.
        resume: whether to go on with an interrupted run of the same arguments, to the same bytes. A run with `out` a
            path keeps its state in NAME.npy.part.json. For another `out`, give the path of a file that keeps the state.

    Returns:
        `out` if it is an array; a read-only memory map of the file if it is a path; otherwise a new array. Shape
        (H, W) for a model of one class, (K, H, W) for K classes.

    Raises:
        TypeError: if the model has no preprocess, or the picture or `out` is no array.
        ValueError: if the picture or an option is outside its limits, `out` does not fit, or the state is that of
            another run.

    Example:
        >>> import saltzoo
        >>> model = saltzoo.create_model("unet_resnet18")
        >>> predict_tiled(model, np.zeros((150, 240), dtype=np.uint8)).shape
        (150, 240)
    """
    check_counts(batch_size=batch_size)
    picture = checked_picture(picture)
    check_options(overlap, blend, scale, polarity, normalize)
    sides, (height, width) = sides_of(tile), picture.shape
    part = part_of(out)
    check_other_file(out, picture)
    state_file = _state_file(part, resume)
    run = Run.of(model, tta, tta_mean)
    number = scalars_of(None if scalar is None else float(scalar), 1, run.preprocess)
    grid = Grid.of(
        Axis.of(height, tile=sides[0], overlap=overlap, blend=blend, scale=scale[0]),
        Axis.of(width, tile=sides[1], overlap=overlap, blend=blend, scale=scale[1]),
    )
    means = run.preprocess.mean[: run.preprocess.image_chans]
    mean = sum(means) / len(means)
    source = Source.of(picture, normalize=normalize, polarity=polarity, mean=mean, transposed=grid.transposed)
    options = {"tile": sides, "overlap": overlap, "blend": blend, "scale": scale, "batch_size": batch_size}
    options |= {"polarity": polarity, "normalize": normalize, "scalar": scalar, "fill": str(fill)}
    with torch.inference_mode(), run.started(torch.device("cpu")) as started:
        journal = Journal(state_file, _described(run, source, options) if state_file else {})
        finished, state = (0, ()) if resume is False else journal.read()
        batches = _Batches(started, source, grid, number, batch_size).run(finished)
        # The first logits tell the number of classes. Until then nothing is written.
        opening = next(batches)
        if resume is False:
            journal.remove()
        shape = (opening[2].shape[1], height, width)
        output = Output(out, shape, transposed=grid.transposed, resumed=finished > 0)
        blender = Blender(grid, shape[0], state, finished)
        for strip, tile_number, logits in chain([opening], batches):
            blender.add(tile_number, logits)
            if tile_number + len(logits) == len(grid.across.starts):
                _write(output, source, *blender.finish(strip), fill)
                if strip + 1 < len(grid.along.starts):
                    journal.write(strip + 1, blender.state(strip))
                if progress is not None:
                    progress(*grid.counts(strip + 1))
    result = output.finish()
    journal.remove()
    return result


@dataclass(frozen=True)
class _Batches:
    """What the logits of all tiles are computed from."""

    started: Started
    source: Source
    grid: Grid
    scalar: Tensor | None
    batch_size: int

    def run(self, finished: int) -> Iterator[tuple[int, int, Tensor]]:
        """Yield strip, number of the first tile, and logits of the batches after the first `finished` strips."""
        reader = StripReader(self.source, self.grid)
        for strip in range(finished, len(self.grid.along.starts)):
            for first, batch in tile_batches(reader.read(strip), self.grid, self.batch_size):
                yield strip, first, logits_of(self.started, self.grid, batch, self.scalar)


def _write(output: Output, source: Source, row: int, block: Floats, fill: float) -> None:
    """Write finished rows, with `fill` where the picture has no answer."""
    if block.shape[1]:
        missing = source.missing(row, row + block.shape[1])
        output.write(row, np.where(missing, np.float32(fill), block) if missing.any() else block)


def _described(run: Run, source: Source, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the result depends on, as plain values."""
    return {
        "model": digest_of(run.model),
        "preprocess": run.preprocess.to_dict(),
        "tta": repr(run.transforms),
        "tta_mean": run.mean,
        "picture": source.scan.digest,
        "shape": source.picture.shape,
        **options,
    }


def _state_file(part: Path | None, resume: bool | str | os.PathLike[str]) -> Path | None:
    if not isinstance(resume, bool):
        path = Path(resume)
        if not path.parent.is_dir() or path.is_dir():
            raise ValueError(
                f"resume must be a file in a folder that exists, got {str(path)!r}: create the folder first"
            )
        return path
    if part is not None:
        return part.with_name(f"{part.name}.json")
    if resume:
        raise ValueError(
            "resume must be the path of a file that keeps the state where out is no path, got True: give a path to "
            "the first run too"
        )
    return None
