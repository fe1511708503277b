"""Writer of SEG-Y files that keep the headers of a survey's file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .._files import whole_file
from ._segy_formats import IEEE, INT8
from ._segy_headers import BINARY, TEXT, Layout, is_ebcdic
from .segy import SegySource

_LINE = 80
_LAST = 38
"""Lines of a text header that take notes: the 39th and 40th tell the revision and the end."""


@dataclass(frozen=True, eq=False)
class SegyWriter:
    """A SEG-Y file that is being written.

    Attributes:
        path: the temporary file.
        source: the survey's file.
        layout: where the parts of the new file are.
    """

    path: Path
    source: SegySource
    layout: Layout

    def write(self, first: int, values: npt.NDArray[np.generic]) -> None:
        """Write the samples of consecutive inlines, 0 for NaN and for dead traces.

        Args:
            first: index of the first of them.
            values: (inline, crossline, sample).
        """
        traces, cells = self.source.grid.traces_of_inlines(first, first + len(values))
        if not len(traces):
            return
        order = np.argsort(traces)
        traces, cells = traces[order], cells[order] - first * values.shape[1]
        flat = values.reshape(-1, values.shape[2])
        written = replace(self.source, layout=self.layout)
        with open(self.path, "r+b") as file:
            for start, stop in written.runs(traces):
                records = written.read_records(file, int(traces[start]), stop - start)
                chosen = flat[cells[start:stop]]
                chosen[self.source.dead[traces[start:stop]]] = 0
                records["samples"] = np.nan_to_num(chosen, copy=False, nan=0, posinf=None, neginf=None)
                file.seek(self.layout.first + int(traces[start]) * self.layout.stride)
                file.write(records.view(np.uint8).data)


@contextmanager
def segy_like(
    source: SegySource, path: Path, *, mask: bool, notes: Sequence[str], overwrite: bool
) -> Iterator[SegyWriter]:
    """Write a file beside `path` with all headers and no samples, which gets its name at the end of the block."""
    layout = replace(source.layout, format=INT8 if mask else IEEE)
    with whole_file(path, overwrite=overwrite) as file:
        with open(source.layout.path, "rb") as given:
            head = given.read(source.layout.first)
            given.seek(source.layout.first + source.layout.traces * source.layout.stride)
            trailer = given.read()
        file.write(add_notes(head[:TEXT], notes))
        file.write(_binary_header(head[TEXT : TEXT + BINARY], layout))
        file.write(head[TEXT + BINARY :])
        record = replace(source, layout=layout).record
        for first, count in source.layout.blocks():
            traces = np.zeros(count, record)  # zeros are written, so that a full disk is noticed before the work
            traces["header"] = source.layout.map(source.record, first, count)["header"]
            file.write(traces.view(np.uint8).data)
        file.write(trailer)
        file.flush()
        part = Path(file.name)
        yield SegyWriter(part, source, replace(layout, path=part))


def segy_bytes(source: SegySource, *, mask: bool) -> int:
    """Return the size of a file that `segy_like` writes."""
    layout = replace(source.layout, format=INT8 if mask else IEEE)
    return layout.first + layout.traces * layout.stride + layout.trailer


def add_notes(text: bytes, notes: Sequence[str]) -> bytes:
    """Return a text header with notes in its last blank lines; where these are too few, in its last lines.

    Notes are cut at 76 characters. The lines 39 and 40, which tell the revision and the end, stay.

    Example:
        >>> text = b"".join(b"C%2d %-76s" % (line, b"") for line in range(1, 41))
        >>> add_notes(text, ["Probability of salt"])[37 * 80 :][:23]
        b'C38 Probability of salt'
    """
    code = "cp037" if is_ebcdic(text) else "latin-1"
    lines = [text[place : place + _LINE].decode(code) for place in range(0, len(text), _LINE)]
    blank = [line for line in range(_LAST) if not _content(lines[line])]
    full = [line for line in range(_LAST) if _content(lines[line])]
    count = min(len(notes), _LAST)
    places = sorted([*full[len(full) - max(0, count - len(blank)) :], *blank[max(0, len(blank) - count) :]])
    if not count:
        return text
    for place, note in zip(places, notes, strict=False):
        lines[place] = f"C{place + 1:2d} {note[: _LINE - 4]:<{_LINE - 4}}"
    return "".join(lines).encode(code, errors="replace")


def _content(line: str) -> str:
    """Return what a line of a text header says after its number."""
    begins = line[:1] in "Cc" and line[1:3].strip("\0 ").isdigit()
    return (line[3:] if begins else line).strip("\0 ")


def _binary_header(header: bytes, layout: Layout) -> bytes:
    """Return the binary header with the new format, and the format only."""
    order = "<" if layout.order == "little" else ">"
    place = 3225 - TEXT - 1
    return header[:place] + np.array(layout.format, order + "i2").tobytes() + header[place + 2 :]
