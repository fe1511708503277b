"""A picture as network input: its statistics from one pass, and strips of it in 0..1."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .._files import release
from .inputs import range_hint

Normalize = Literal["image", "survey"] | tuple[float, float]

_BLOCK = 2**21
"""Samples of the picture that the first pass holds at a time."""

_SAMPLES = 2**20
"""Approximate number of samples that the median and the deviation are taken from."""


@runtime_checkable
class Picture(Protocol):
    """What slices like an array: numpy, a memory map, a zarr array, an h5py dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""

    @property
    def dtype(self) -> Any:
        """Type of the samples, a dtype of numpy."""

    def __getitem__(self, part: Any, /) -> Any:
        """Return a slice of rows, or of rows and columns."""


@dataclass(frozen=True)
class Scan:
    """What one pass over a picture H W tells.

    Attributes:
        dead: whether a trace holds no two different finite samples, W. A picture of one row has dead traces only
            where its samples are not finite.
        finite: whether every sample is finite.
        low: lowest finite sample, infinity if there is none.
        high: highest finite sample, minus infinity if there is none.
        sample: about a million samples, spread evenly over the picture, h w.
        step: traces of the picture from one trace of the sample to the next.
        digest: digest of the lowest and highest samples of all traces and of the sample.
    """

    dead: npt.NDArray[np.bool_]
    finite: bool
    low: float
    high: float
    sample: npt.NDArray[Any]
    step: int
    digest: str

    @classmethod
    def of(cls, picture: Picture) -> Scan:
        """Read a picture once, in blocks of rows."""
        height, width = picture.shape
        rows, step = max(1, _BLOCK // width), max(1, int((height * width / _SAMPLES) ** 0.5))
        low, high, finite, samples = np.full(width, np.inf), np.full(width, -np.inf), True, []
        for first in range(0, height, rows):
            block = np.asarray(picture[first : first + rows])
            samples.append(block[-first % step :: step, ::step].copy())
            if block.dtype.kind == "f" and not (known := np.isfinite(block)).all():
                finite = False
                lower, upper = np.where(known, block, np.inf), np.where(known, block, -np.inf)
            else:
                lower = upper = block
            low, high = np.minimum(low, lower.min(0)), np.maximum(high, upper.max(0))
            release(picture)
        dead = ~(low < high) if height > 1 else ~(low <= high)
        sample = np.concatenate(samples)
        digest = hashlib.blake2b(low.tobytes() + high.tobytes() + sample.tobytes(), digest_size=16).hexdigest()
        return cls(dead, finite, float(low.min()), float(high.max()), sample, step, digest)

    def robust(self) -> tuple[float, float]:
        """Return the median and the robust deviation, 1.4826 times the median absolute deviation, of finite samples.

        Dead traces do not count. Where more than half of the samples are equal, the deviation is the standard one, and
        1 if all are.
        """
        live = self.sample[:, ~self.dead[:: self.step]].ravel()
        live = live[np.isfinite(live)].astype(np.float64)
        if not live.size:
            return 0.0, 1.0
        median = float(np.median(live))
        deviation = 1.4826 * float(np.median(np.abs(live - median))) or float(live.std()) or 1.0
        return median, deviation


@dataclass(frozen=True)
class Source:
    """A picture as values in 0..1, read in strips of rows, or of columns as rows.

    Attributes:
        picture: H W.
        scan: its statistics.
        transposed: whether strips are columns.
        centre: amplitude that becomes `base`.
        width: amplitude that adds 1 to the value; negative for the opposite polarity.
        base: value of the centre.
        neutral: value of samples that are not finite and of dead traces.
    """

    picture: Picture
    scan: Scan
    transposed: bool
    centre: float
    width: float
    base: float
    neutral: float

    @classmethod
    def of(
        cls, picture: Picture, *, normalize: Normalize, polarity: int, mean: float, transposed: bool = False
    ) -> Source:
        """Return the source of a checked picture.

        Args:
            picture: H W.
            normalize: "image", "survey", or the median and the deviation of the survey.
            polarity: 1 or -1.
            mean: value in 0..1 for samples that are not known, if `normalize` is "image".
            transposed: whether strips are columns.

        Raises:
            ValueError: if `normalize` is "image" and the picture is neither uint8, uint16 nor in 0..1.
        """
        scan = Scan.of(picture)
        if normalize != "image":
            median, deviation = scan.robust() if normalize == "survey" else normalize
            return cls(picture, scan, transposed, median, polarity * deviation * 255 / 28, 124 / 255, 124 / 255)
        dtype = np.dtype(picture.dtype)
        if dtype.kind != "f" and dtype.newbyteorder("=") not in (np.uint8, np.uint16):
            raise ValueError(
                f'a picture for normalize="image" must be uint8, uint16 or floating point in 0..1, got {dtype}: give '
                f'normalize="survey" for amplitudes'
            )
        if dtype.kind == "f" and not (scan.dead.all() or (scan.low >= 0 and scan.high <= 1)):
            raise ValueError(
                f'a floating-point picture for normalize="image" must be in 0..1, got {scan.low:.4g} to '
                f'{scan.high:.4g}: give normalize="survey" for amplitudes; or {range_hint(scan.low, scan.high)}'
            )
        full = 1 if dtype.kind == "f" else int(np.iinfo(dtype).max)
        return cls(picture, scan, transposed, 0, polarity * full, 0 if polarity == 1 else 1, min(max(mean, 0), 1))

    def read(self, first: int, last: int) -> npt.NDArray[np.float32]:
        """Return a strip in 0..1, rows (or columns, as rows) `first` to `last` - 1."""
        raw = self._raw(first, last)
        values = raw.astype(np.result_type(raw.dtype, np.float32))  # a copy
        missing = self._missing(values, first, last)
        values -= self.centre
        values /= self.width
        values += self.base
        strip = values.clip(0, 1, out=values).astype(np.float32, copy=False)
        return np.where(missing, np.float32(self.neutral), strip) if missing.any() else strip

    def missing(self, first: int, last: int) -> npt.NDArray[np.bool_]:
        """Return where a strip has no answer: samples that are not finite, and dead traces."""
        if self.scan.finite and not self.scan.dead.any():
            return np.zeros((1, 1), np.bool_)
        # Only where some sample is not finite does the picture have to be read again.
        return self._missing(None if self.scan.finite else self._raw(first, last), first, last)

    def _missing(self, values: npt.NDArray[Any] | None, first: int, last: int) -> npt.NDArray[np.bool_]:
        dead = self.scan.dead[first:last, None] if self.transposed else self.scan.dead[None]
        return dead if self.scan.finite or values is None else dead | ~np.isfinite(values)

    def _raw(self, first: int, last: int) -> npt.NDArray[Any]:
        part = self.picture[:, first:last] if self.transposed else self.picture[first:last]
        raw = np.asarray(part)
        return raw.T if self.transposed else raw

    def release(self) -> None:
        """Let the system take back memory that holds read parts of the picture."""
        release(self.picture)
