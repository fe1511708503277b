"""segment_pictures: masks, probabilities and overlays of many pictures. One that fails does not stop the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .._files import FULL
from ..contracts import MaskModel
from ..inference import predict_tiled
from ..seismic import open_amplitudes, open_picture
from ..seismic.lazy import strips_of
from .flags import in_flags
from .outputs import Job
from .picture_files import Opened, mask_of, write_files

LARGE = 2**26
"""Samples of a picture from which on its probabilities are written to a file while they are computed."""

_FAILURES = (ValueError, TypeError, OSError, MemoryError, RuntimeError)
"""What one picture may raise: it cannot be read or written, or is too large for the memory of the device."""


@dataclass(frozen=True)
class Prediction:
    """How probabilities are computed, in the words of `predict_tiled`.

    Attributes:
        tta: test-time augmentation.
        tile: height and width of a tile, or both in one number; None for the model's.
        overlap: fraction of a tile that its neighbour covers, too.
        batch_size: tiles in a batch.
        scale: factors (z, x) by which a picture is resized for the model.
        polarity: 1, or -1 for pictures whose black is the training tiles' white.
        normalize: "image" for gray levels, "survey" for amplitudes.
    """

    tta: str | None = None
    tile: int | tuple[int, int] | None = None
    overlap: float = 0.5
    batch_size: int = 16
    scale: tuple[float, float] = (1.0, 1.0)
    polarity: int = 1
    normalize: str = "image"


@dataclass(frozen=True)
class Segmentation:
    """How pictures are read, and how their probabilities become masks.

    Attributes:
        prediction: how probabilities are computed.
        value_range: samples (black, white), as `saltzoo.seismic.read_picture` takes them.
        page: page of files that have several.
        threshold: probability above which a pixel is salt; None for the model's.
        min_size: pixels of the smallest body that is kept; None for the model's.
        fill_holes: pixels up to which a hole in a body is filled.
        overwrite: whether files that are there are replaced.
        resume: whether the interrupted prediction of a large picture goes on.
    """

    prediction: Prediction = field(default_factory=Prediction)
    value_range: tuple[float, float] | None = None
    page: int | None = None
    threshold: float | None = None
    min_size: int | None = None
    fill_holes: int = 0
    overwrite: bool = False
    resume: bool = False


@dataclass
class Report:
    """What was done, so far.

    Attributes:
        done: for each picture that was segmented, its path, files, size, fraction of salt, and warnings.
        failed: for each other one, its path and what is wrong.
        stopped: why no further picture was tried, None if all were.
    """

    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    stopped: str | None = None


def check_model(model: MaskModel, how: Prediction) -> None:
    """Raise ValueError if a model cannot segment pictures alone, or an option is wrong, which a small one shows."""
    if model.preprocess.scalar:
        raise ValueError("this model reads a number for each picture, such as its depth: use saltzoo.predict(scalars=)")
    predict_tiled(model, np.random.default_rng(0).random((64, 64), dtype=np.float32), **asdict(how))


def segment_pictures(
    model: MaskModel,
    jobs: Sequence[Job],
    how: Segmentation,
    *,
    report: Report | None = None,
    progress: Callable[[Sequence[Job]], Iterable[Job]] = iter,
    tell: Callable[[str], None] = print,
    warn: Callable[[str], None] = print,
) -> Report:
    """Write the files of each job, of the size of its picture.

    Args:
        model: model of one class.
        jobs: what to do, as `saltzoo.cli.outputs.plan` returns it.
        how: how to do it.
        report: report that grows while pictures are done, for a caller that may be interrupted; None for a new one.
        progress: function of the jobs that yields them, such as tqdm.
        tell: called with a line of text for each picture that is done.
        warn: called with a line of text for each warning.

    Returns:
        The report. Failures do not raise; a full disk ends the run.

    Raises:
        ValueError: if the model reads more than pictures, or an option of the prediction is wrong.
    """
    check_model(model, how.prediction)
    report = Report() if report is None else report
    for job in progress(jobs):
        try:
            found = segment_picture(model, job, how)
        except _FAILURES as error:
            text = in_flags(" ".join(str(error).split())) or type(error).__name__
            text = text if str(job.picture) in text else f"{job.picture}: {text}"
            report.failed.append({"picture": str(job.picture), "error": text})
            if isinstance(error, OSError) and error.errno in FULL:
                report.stopped = "the disk is full"
                break
            continue
        report.done.append(found)
        for text in found["warnings"]:
            warn(f"warning: {text}")
        first, *others = job.files.values()
        tell(f"{job.picture}: {found['salt']:.1%} salt -> {', '.join([str(first), *(file.name for file in others)])}")
    return report


def segment_picture(model: MaskModel, job: Job, how: Segmentation) -> dict[str, Any]:
    """Write the files of one picture, the mask last, and return a description of it.

    Raises:
        ValueError, TypeError, OSError, MemoryError, RuntimeError: as reading, predicting and writing do.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = _open(job, how)
    told = [str(one.message) for one in caught]
    first = float(picture[:1, :1][0, 0])
    if all((strip == first).all() for strip in strips_of(picture)):
        told.append(f"{job.picture} is constant, {first:g} everywhere: its mask means nothing")
    threshold = model.threshold if how.threshold is None else how.threshold
    min_size = model.min_size if how.min_size is None else how.min_size
    with _probabilities(model, picture, job, how) as probabilities:
        mask = mask_of(probabilities, threshold=threshold, min_size=min_size, fill_holes=how.fill_holes)
        write_files(probabilities, picture, mask, job, normalize=how.prediction.normalize, overwrite=how.overwrite)
        salt = sum(int(strip.sum()) for strip in strips_of(mask)) / mask.size
    return {
        "picture": str(job.picture),
        **{kind: str(file) for kind, file in job.files.items()},
        "height": picture.shape[0],
        "width": picture.shape[1],
        "threshold": threshold,
        "min_size": min_size,
        "salt": salt,
        "warnings": told,
    }


@contextmanager
def _probabilities(model: MaskModel, picture: Opened, job: Job, how: Segmentation) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the probabilities of a picture; those of a large one lie in a temporary file."""
    options = asdict(how.prediction)
    if picture.size < LARGE:
        yield predict_tiled(model, picture, **options)
        return
    folder = next(iter(job.files.values())).parent
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f".{job.picture.stem}_probability.npy"
    yield predict_tiled(model, picture, out=file, resume=how.resume, **options)
    file.unlink()


def _open(job: Job, how: Segmentation) -> Opened:
    if how.prediction.normalize == "survey":
        return open_amplitudes(job.picture, page=how.page)
    return open_picture(job.picture, value_range=how.value_range, page=how.page, to_gray=True)
