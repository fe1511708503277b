"""Writer of SEG-Y files from nothing: revision 1, big-endian, IEEE floating point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from .._files import whole_file
from ._segy_formats import IEEE
from ._segy_headers import HEADER, TEXT
from .survey import Survey

SCALCO = -100
"""Scalar of coordinates that is written: centimetres."""

_WORDS = (
    # name, first byte from 1, type
    ("trace", 1, ">i4"),
    ("number", 5, ">i4"),
    ("cdp", 21, ">i4"),
    ("kind", 29, ">i2"),
    ("scalar", 71, ">i2"),
    ("source_x", 73, ">i4"),
    ("source_y", 77, ">i4"),
    ("unit", 89, ">i2"),
    ("delay", 109, ">i2"),
    ("samples", 115, ">u2"),
    ("interval", 117, ">u2"),
    ("x", 181, ">i4"),
    ("y", 185, ">i4"),
    ("inline", 189, ">i4"),
    ("crossline", 193, ">i4"),
)


@dataclass(frozen=True, eq=False)
class NewSegy:
    """A SEG-Y file that is being written, inline after inline.

    Attributes:
        file: the temporary file.
        survey: survey whose live traces are written.
        coordinates: x and y of each trace, in hundredths of a unit of length, (2, inline, crossline).
        record: type of a trace.
    """

    file: IO[bytes]
    survey: Survey
    coordinates: npt.NDArray[np.int32]
    record: np.dtype[np.void]

    def write(self, first: int, values: npt.NDArray[np.generic]) -> None:
        """Write the samples of the next inlines, 0 for NaN.

        Args:
            first: index of the first of them.
            values: (inline, crossline, sample).
        """
        survey, stop = self.survey, first + len(values)
        rows, columns = np.nonzero(survey.live[first:stop])
        traces = np.zeros(len(rows), self.record)
        numbers = 1 + int(survey.live[:first].sum()) + np.arange(len(rows))
        x, y = self.coordinates[:, first + rows, columns]
        interval, start = _sampling(survey)
        written = {
            "trace": numbers,
            "number": numbers,
            "cdp": numbers,
            "kind": 1,
            "scalar": SCALCO,
            "source_x": x,
            "source_y": y,
            "unit": 1,
            "delay": start,
            "samples": len(survey.samples),
            "interval": interval,
            "x": x,
            "y": y,
            "inline": survey.inlines[first + rows],
            "crossline": survey.crosslines[columns],
            "values": np.nan_to_num(values[rows, columns], posinf=None, neginf=None),
        }
        for name, value in written.items():
            traces[name] = value
        self.file.write(traces.tobytes())


@contextmanager
def new_segy(survey: Survey, path: Path, *, notes: Sequence[str], overwrite: bool) -> Iterator[NewSegy]:
    """Write the headers of a file beside `path`, which gets its name at the end of the block."""
    interval, _ = _sampling(survey)
    samples = len(survey.samples)
    names, places, types = zip(*_WORDS, strict=True)
    record = np.dtype(
        {
            "names": [*names, "values"],
            "formats": [*types, (">f4", (samples,))],
            "offsets": [*(place - 1 for place in places), HEADER],
            "itemsize": HEADER + 4 * samples,
        }
    )
    with whole_file(path, overwrite=overwrite) as file:
        file.write(_text(notes))
        file.write(_binary(interval, samples))
        yield NewSegy(file, survey, _centimetres(survey), record)


def _sampling(survey: Survey) -> tuple[int, int]:
    """Return the sample interval in microseconds, or millimetres, and the first sample in ms or m.

    Raises:
        ValueError: if the samples are not evenly spaced, or the headers cannot hold their spacing.
    """
    steps = np.diff(survey.samples) * 1000
    interval = int(np.rint(steps[0])) if len(steps) else 1000
    start = float(survey.samples[0])
    if not 0 < interval < 2**16 or np.abs(steps - interval).max(initial=0) > 0.5:
        raise ValueError(
            f"samples must be evenly spaced, a multiple of 0.001 up to 65.535 apart, for SEG-Y, got {steps[:3] / 1000}"
        )
    if start != round(start) or abs(start) >= 2**15:
        raise ValueError(f"the first sample must be a whole number below 32768 for SEG-Y, got {start:g}: write zarr")
    if len(survey.samples) >= 2**16:
        raise ValueError(f"samples must be fewer than 65536 for SEG-Y, got {len(survey.samples)}: write zarr")
    return interval, int(start)


def _centimetres(survey: Survey) -> npt.NDArray[np.int32]:
    """Return coordinates as the headers hold them, 0 where there are none."""
    found = survey.source.coordinates()
    if found is None:
        return np.zeros((2, *survey.live.shape), np.int32)
    scaled = np.rint(np.nan_to_num(np.stack(found)) * -SCALCO)
    if np.abs(scaled).max() >= 2**31:
        raise ValueError(f"coordinates must be below 21474836 for SEG-Y, got {np.abs(scaled).max() / -SCALCO:.0f}")
    return scaled.astype(np.int32)


def _text(notes: Sequence[str]) -> bytes:
    told = [*notes, "Inline: byte 189, crossline: 193, x: 181, y: 185, scalar of both: 71"]
    told += [""] * (38 - len(told)) + ["SEG Y REV1", "END TEXTUAL HEADER"]
    return "".join(f"C{number:2d} {note[:76]:<76}" for number, note in enumerate(told, 1)).encode("cp037", "replace")


def _binary(interval: int, samples: int) -> bytes:
    words = np.zeros(200, ">u2")
    for place, value in (
        (3213, 1),  # traces of an ensemble
        (3217, interval),
        (3219, interval),
        (3221, samples),
        (3223, samples),
        (3225, IEEE),
        (3227, 1),  # fold
        (3229, 4),  # sorting: horizontally stacked
        (3255, 1),  # metres
        (3501, 0x0100),
        (3503, 1),  # all traces have one length
    ):
        words[(place - TEXT - 1) // 2] = value
    return words.tobytes()
