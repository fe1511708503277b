"""SEG-Y files that are written with segyio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import segyio

CODES = {"IBM": 1, "IEEE": 5, "int16": 3}
"""Format codes by name."""

Shape = tuple[int, int, int]


def write_cube(path: Path, shape: Shape, code: int) -> None:
    """Write smooth noise as a SEG-Y file, an inline at a time."""
    spec = segyio.spec()
    spec.format, spec.sorting = code, 2
    spec.ilines, spec.xlines, spec.samples = (np.arange(size) for size in shape)
    random = np.random.default_rng(0)
    noise = random.normal(size=(shape[1], shape[2] + 4)).astype(np.float32)
    section = (1000 * np.sum([noise[:, k : k + shape[2]] for k in range(5)], 0)).astype(
        np.int16 if code == CODES["int16"] else np.float32
    )
    with segyio.create(path, spec) as file:
        for trace in range(shape[0] * shape[1]):
            inline, crossline = divmod(trace, shape[1])
            file.header[trace] = {189: inline + 1, 193: crossline + 1}
            file.trace[trace] = section[(crossline + inline) % shape[1]]
