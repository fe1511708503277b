"""qc_page: one picture that shows whether a survey and its prediction look right."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ..draw import SALT, TRUTH, Picture, overlay

EDGES = np.linspace(-4, 4, 33)
"""Edges of the bins of the histogram, in standard deviations from the mean."""

TILE_HISTOGRAM = 1e-3 * np.array([
    0.50, 0.70, 1.01, 1.51, 2.32, 3.58, 5.57, 8.57, 13.12, 19.60, 28.44, 40.71, 56.48, 77.23, 102.01, 140.35,
    135.95, 103.60, 77.12, 55.78, 39.70, 27.65, 18.65, 12.41, 8.19, 5.34, 3.53, 2.32, 1.59, 1.14, 0.84, 0.62,
])  # fmt: skip
"""Part of the pixels in each bin, in 3200 training tiles of the TGS challenge without those of one gray; each tile is
standardised by itself."""

_WIDTH, _HEIGHT, _GAP, _CAPTION = 480, 320, 8, 18
_LINES = 8
"""Inlines that the histogram is taken from."""


class Volume(Protocol):
    """Volume (inline, crossline, sample) of which one index of any axis can be read: an array, a memmap, zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    def __getitem__(self, key: Any, /) -> Any: ...


def qc_page(
    amplitudes: Volume,
    probabilities: Volume,
    *,
    disagreement: Volume | None = None,
    at: tuple[int, int, int] | None = None,
    title: str = "",
) -> Picture:
    """Return a page of an inline, a crossline and a time or depth slice, each with and without the predicted salt.

    Below them, the histogram of standardised amplitudes beside that of the tiles the published models were trained
    on, and the disagreement of directions, if given. Reads three sections of each volume and 8 inlines. `save_png`
    of `saltzoo.draw` writes the page.

    Args:
        amplitudes: (inline, crossline, sample): anything that slices like an array. NaN marks dead traces.
        probabilities: probabilities in 0..1 or a bool mask, of the same shape.
        disagreement: difference between directions in 0..1, of the same shape.
        at: indices of the inline, the crossline and the sample that are shown; None for the middle.
        title: line at the top, in ASCII.

    Returns:
        H W 3, uint8.

    Raises:
        ValueError: if the shapes differ, an index is out of range, or probabilities or disagreement go beyond 0..1.
    """
    shape = tuple(amplitudes.shape)
    given = {"probabilities": probabilities, "disagreement": disagreement}
    for name, volume in given.items():
        if volume is not None and (tuple(volume.shape) != shape or len(shape) != 3):
            raise ValueError(
                f"{name} must have the shape of amplitudes, (inline, crossline, sample), "
                f"got {tuple(volume.shape)} and {shape}"
            )
    chosen = tuple(length // 2 for length in shape) if at is None else at
    if len(chosen) != 3 or not all(0 <= index < length for index, length in zip(chosen, shape, strict=True)):
        raise ValueError(f"at must be indices of an inline, a crossline and a sample within {shape}, got {at}")
    low, high, histogram = _statistics(amplitudes)
    panels: list[tuple[str, Picture]] = []
    for axis, kind in enumerate(("inline", "crossline", "sample")):
        gray = _gray(_section(amplitudes, axis, chosen[axis]), low, high)
        salt = _fractions("probabilities", _section(probabilities, axis, chosen[axis]))
        panels += [
            (f"{kind} {chosen[axis]}", overlay(gray, np.zeros(gray.shape, bool))),
            (f"{kind} {chosen[axis]}, predicted salt", overlay(gray, salt)),
        ]
    pages = [(caption, _fit(picture)) for caption, picture in panels]
    pages.append(("amplitudes: survey (orange), training tiles (blue)", _plot(histogram)))
    if disagreement is not None:
        differing = _fractions("disagreement", _section(disagreement, 0, chosen[0]))
        gray = np.rint(255 * differing).astype(np.uint8)
        pages.append((f"inline {chosen[0]}, disagreement", _fit(np.repeat(gray[..., None], 3, axis=2))))
    return _arrange(pages, title)


def _section(volume: Volume, axis: int, index: int) -> npt.NDArray[np.float32]:
    """Return a line as (sample, trace), or a slice as (inline, crossline)."""
    key = tuple(index if axis == one else slice(None) for one in range(3))
    section = np.asarray(volume[key]).astype(np.float32)
    return section if axis == 2 else section.T


def _fractions(name: str, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    known = np.where(np.isnan(values), np.float32(0), values)
    if known.size and not (known.min() >= 0 and known.max() <= 1):
        raise ValueError(f"{name} must be in 0..1, got {known.min():g} to {known.max():g}: pass no logits")
    return known


def _statistics(amplitudes: Volume) -> tuple[float, float, npt.NDArray[np.float64]]:
    """Return the gray range, and the part of the live samples in each bin, from some inlines."""
    picked = np.unique(np.linspace(0, amplitudes.shape[0] - 1, _LINES).round().astype(int)).tolist()
    lines = [np.asarray(amplitudes[index]).astype(np.float64) for index in picked]
    # A dead trace is NaN, or 0 from end to end.
    live = [line[np.isfinite(line).all(axis=1) & (line != 0).any(axis=1)].ravel() for line in lines]
    values = np.concatenate(live)
    if not values.size:
        return 0.0, 1.0, np.zeros(len(TILE_HISTOGRAM))
    low, high = np.percentile(values, [1, 99])
    standard = (values - values.mean()) / max(float(values.std()), 1e-30)
    return float(low), float(high), np.histogram(standard, EDGES)[0] / values.size


def _gray(section: npt.NDArray[np.float32], low: float, high: float) -> Picture:
    known = np.where(np.isfinite(section), section, np.float32(low))
    return np.rint(255 * np.clip((known - low) / max(high - low, 1e-30), 0, 1)).astype(np.uint8)


def _fit(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR))


def _plot(histogram: npt.NDArray[np.float64]) -> Picture:
    """Draw two histograms as steps over the same axis."""
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    base, scale = _HEIGHT - 24, (_HEIGHT - 40) / max(float(histogram.max()), float(TILE_HISTOGRAM.max()))
    edges = np.linspace(10, _WIDTH - 10, len(EDGES))
    for values, colour in ((TILE_HISTOGRAM, TRUTH), (histogram, SALT)):
        steps = zip(np.repeat(edges, 2)[1:-1].tolist(), (base - scale * np.repeat(values, 2)).tolist(), strict=True)
        pen.line(list(steps), fill=colour, width=2)
    pen.line([(10, base), (_WIDTH - 10, base)], fill=(0, 0, 0))
    for deviation in range(-4, 5, 2):
        x = float(np.interp(deviation, EDGES, edges))
        pen.text((x, base + 4), str(deviation), fill=(0, 0, 0), anchor="ma")
    return np.asarray(picture)


def _arrange(pages: list[tuple[str, Picture]], title: str) -> Picture:
    """Put captioned panels into two columns on white."""
    rows = -(-len(pages) // 2)
    top = _CAPTION + _GAP
    size = (2 * _WIDTH + 3 * _GAP, top + rows * (_HEIGHT + _CAPTION + _GAP))
    sheet = Image.new("RGB", size, (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _GAP), title, fill=(0, 0, 0))
    for position, (caption, panel) in enumerate(pages):
        x = _GAP + position % 2 * (_WIDTH + _GAP)
        y = top + position // 2 * (_HEIGHT + _CAPTION + _GAP)
        pen.text((x, y + 2), caption, fill=(0, 0, 0))
        sheet.paste(Image.fromarray(panel), (x, y + _CAPTION))
    return np.asarray(sheet)
