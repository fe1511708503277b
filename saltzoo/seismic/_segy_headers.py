"""Headers of a SEG-Y file: text, binary header, and where its traces are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ._segy_formats import FORMATS, format_name

ByteOrder = Literal["big", "little"]

TEXT, BINARY, HEADER = 3200, 400, 240
"""Bytes of a text header, the binary header and a trace header."""

_BLOCK = 2**23
"""Bytes of the file that one pass over the headers maps at a time."""


@dataclass(frozen=True)
class Layout:
    """Where the parts of a SEG-Y file are.

    Attributes:
        path: file.
        order: byte order of headers and samples.
        format: code of the sample format.
        revision: revision of the standard, such as "1.0".
        samples: samples of a trace.
        interval: sample interval in ms (or m, as depth files use the field); 0 if unknown.
        start: time of the first sample in ms.
        first: byte of the first trace, from 0.
        extra: bytes of additional trace headers.
        traces: number of traces.
        trailer: bytes after the last trace.
    """

    path: Path
    order: ByteOrder
    format: int
    revision: str
    samples: int
    interval: float
    start: float
    first: int
    extra: int
    traces: int
    trailer: int

    @property
    def stride(self) -> int:
        """Bytes from one trace to the next."""
        return HEADER + self.extra + self.samples * FORMATS[self.format].itemsize

    def map(self, dtype: np.dtype[Any], first: int, count: int) -> npt.NDArray[Any]:
        """Map records of `count` traces into memory; `dtype` has one trace's size."""
        return np.memmap(self.path, dtype, "r", self.first + first * self.stride, (count,))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield (first trace, number of traces) of blocks that fit into memory."""
        step = max(1, _BLOCK // self.stride)
        for first in range(0, self.traces, step):
            yield first, min(step, self.traces - first)


def is_ebcdic(text: bytes) -> bool:
    """Return whether a text header is in EBCDIC, whose space is 64; that of ASCII is 32."""
    return text.count(0x40) > text.count(0x20)


def read_text(path: Path) -> list[str]:
    """Return the 40 lines of the text header."""
    with open(path, "rb") as file:
        raw = file.read(TEXT)
    text = raw.decode("cp037") if is_ebcdic(raw) else raw.decode("latin-1")
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    return [clean[place : place + 80].rstrip() for place in range(0, TEXT, 80)]


def read_layout(path: Path, *, sample_format: int | None, byte_order: ByteOrder | None) -> Layout:
    """Find out where the traces of a file are.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no SEG-Y file, or ends within a trace.
    """
    size = os.path.getsize(path)
    if size < TEXT + BINARY + HEADER:
        what = "is empty" if not size else f"has {size} bytes, fewer than the headers of a SEG-Y file"
        raise ValueError(f"{path} {what}: copy the file again")
    with open(path, "rb") as file:
        head = file.read(TEXT + BINARY)
    order = byte_order or _byte_order(head, path, sample_format)
    binary = _Words(head, order)
    code = sample_format or binary.get(3225, "i2")
    if code not in FORMATS:
        raise ValueError(
            f"the format code of {path} at byte 3225 must be one of {', '.join(map(str, FORMATS))}, got {code}: pass "
            "sample_format=CODE (--sample-format CODE), such as 1 for IBM or 5 for IEEE floating point"
        )
    major, minor = divmod(binary.get(3501, "u2"), 256)
    major, minor = (minor, 0) if not major and minor < 3 else (major, minor)  # bytes that were not swapped
    first = _first_trace(path, binary, major)
    with open(path, "rb") as file:
        file.seek(first)
        trace = _Words(file.read(HEADER).ljust(HEADER, b"\0"), order)
    trailer = TEXT * max(0, binary.get(3529, "i4")) if major >= 2 else 0
    samples, extra = _sizes(path, size - first - trailer, code, _Declared.of(binary, trace, major))
    stride = HEADER + extra + samples * FORMATS[code].itemsize
    interval = (binary.get(3217, "u2") or trace.get(117, "u2")) / 1000
    start = float(trace.get(109, "i2"))
    count = (size - first - trailer) // stride
    return Layout(path, order, code, f"{major}.{minor}", samples, interval, start, first, extra, count, trailer)


@dataclass(frozen=True)
class _Words:
    """Words of a header, by the byte that the standard names, from 1."""

    raw: bytes
    order: ByteOrder

    def get(self, place: int, kind: str) -> int:
        return int(np.frombuffer(self.raw, ("<" if self.order == "little" else ">") + kind, 1, place - 1)[0])


@dataclass(frozen=True)
class _Declared:
    """Sizes that the headers give, which may contradict each other.

    Attributes:
        samples: samples of a trace, the likeliest first.
        extra: additional trace headers, the likeliest first.
    """

    samples: tuple[int, ...]
    extra: tuple[int, ...]

    @classmethod
    def of(cls, binary: _Words, trace: _Words, major: int) -> _Declared:
        counts = [binary.get(3221, "u2"), trace.get(115, "u2")]
        if major >= 2:
            counts.insert(0, binary.get(3269, "i4"))
        # Revision 2.0 has 4 bytes for the number of additional headers, and 2.1 has 2; writers of 2.0 use 2 as well.
        extra = [binary.get(3507, "i2"), binary.get(3507, "i4")] if major >= 2 else []
        return cls(
            tuple(count for count in counts if count > 0),
            (*(count for count in extra if 0 < count < 1000), 0),
        )


def _byte_order(head: bytes, path: Path, sample_format: int | None) -> ByteOrder:
    orders: tuple[ByteOrder, ...] = ("big", "little")
    for order in orders:
        words = _Words(head, order)
        if words.get(3297, "u4") == 0x01020304 and words.get(3225, "i2") in FORMATS:
            return order
    for order in orders:
        if 1 <= _Words(head, order).get(3225, "i2") <= 16:
            return order
    if sample_format is not None:  # the smaller of both readings is the likelier number of samples
        return min(orders, key=lambda order: _Words(head, order).get(3221, "u2") or 2**16)
    raise ValueError(
        f"{path} seems to be no SEG-Y file: the format code at byte 3225 must be one of "
        f"{', '.join(map(str, FORMATS))}, got {_Words(head, 'big').get(3225, 'i2')}. If it is one, pass "
        "sample_format=CODE (--sample-format CODE)"
    )


def _first_trace(path: Path, binary: _Words, major: int) -> int:
    """Return the byte of the first trace, after the extended text headers."""
    first = TEXT + BINARY
    if major >= 2 and binary.get(3521, "u8"):
        return binary.get(3521, "u8")
    count = binary.get(3505, "i2") if major >= 1 else 0
    if count >= 0:
        return first + TEXT * count
    with open(path, "rb") as file:
        file.seek(first)
        while len(block := file.read(TEXT)) == TEXT:
            first += TEXT
            if "((SEG: ENDTEXT))" in {block[:16].decode("cp037").upper(), block[:16].decode("latin-1").upper()}:
                return first
    raise ValueError(f"{path} must end its extended text headers with ((SEG: EndText)): no such header was found")


def _sizes(path: Path, size: int, code: int, declared: _Declared) -> tuple[int, int]:
    """Return samples of a trace and bytes of additional headers, so that the file holds whole traces."""
    width = FORMATS[code].itemsize
    for samples in declared.samples:
        for count in declared.extra:
            stride = HEADER * (1 + count) + samples * width
            if size >= stride and size % stride == 0:
                return samples, HEADER * count
    if not declared.samples:
        raise ValueError(f"{path} gives no number of samples, at byte 3221 or in its traces: correct its headers")
    samples, stride = declared.samples[0], HEADER * (1 + declared.extra[0]) + declared.samples[0] * width
    raise ValueError(
        f"{path} ends within a trace: after {max(0, size) // stride} traces of {samples} samples "
        f"({format_name(code)}), {size % stride if size > 0 else 0} bytes of {stride} are left: "
        "copy the file again if it was cut, or pass "
        "sample_format=CODE (--sample-format CODE) if its format code is wrong"
    )
