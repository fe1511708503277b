"""Encoders of PNG, TIFF and .npy files that read a picture in strips, so that it is never in memory as a whole.

Pillow's encoders take a whole picture.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO

import numpy as np

from .lazy import Sliced, strips_of

_SUB = 1
"""PNG's filter that stores differences to the pixel on the left."""

_GRAY, _COLOURS = 0, 2


def write_png(file: IO[bytes], picture: Sliced) -> None:
    """Write a picture H W or H W 3, uint8."""
    height, width, *channels = picture.shape
    depth = 3 if channels else 1
    file.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOURS if channels else _GRAY, 0, 0, 0))
    compressor = zlib.compressobj()
    for strip in strips_of(picture):
        flat = strip.reshape(len(strip), width * depth)
        lines = np.empty((len(strip), 1 + width * depth), np.uint8)
        lines[:, 0] = _SUB
        lines[:, 1 : 1 + depth] = flat[:, :depth]
        lines[:, 1 + depth :] = flat[:, depth:] - flat[:, :-depth]  # modulo 256
        _write_chunk(file, b"IDAT", compressor.compress(lines.data))
    _write_chunk(file, b"IDAT", compressor.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: IO[bytes], kind: bytes, data: bytes) -> None:
    if data or kind != b"IDAT":
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def write_tiff(file: IO[bytes], picture: Sliced) -> None:
    """Write a picture H W as float32, uncompressed; its samples must fit into 4 GiB."""
    height, width = picture.shape
    file.write(b"II*\0" + bytes(4))  # the place of the table of tags comes last
    offsets, sizes, rows = [], [], 0
    for strip in strips_of(picture):
        rows = rows or len(strip)
        data = np.ascontiguousarray(strip, "<f4").data.cast("B")
        offsets.append(file.tell())
        sizes.append(len(data))
        file.write(data)
    count, longs = len(offsets), f"<{len(offsets)}I"
    lists = file.tell()
    if count > 1:
        file.write(struct.pack(longs, *offsets) + struct.pack(longs, *sizes))
    tags = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 32), (259, 3, 1, 1), (262, 3, 1, 1)),
        (273, 4, count, lists if count > 1 else offsets[0]),
        *((277, 3, 1, 1), (278, 4, 1, rows)),
        (279, 4, count, lists + 4 * count if count > 1 else sizes[0]),
        (339, 3, 1, 3),  # floating point
    ]
    table = file.tell()
    file.write(struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4))
    file.seek(4)
    file.write(struct.pack("<I", table))


def write_npy(file: IO[bytes], picture: Sliced) -> None:
    """Write a picture H W as float32."""
    header = {"descr": "<f4", "fortran_order": False, "shape": tuple(picture.shape)}
    np.lib.format.write_array_header_1_0(file, header)
    for strip in strips_of(picture):
        file.write(np.ascontiguousarray(strip, "<f4").data.cast("B"))
