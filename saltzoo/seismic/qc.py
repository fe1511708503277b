"""qc_page: one picture that shows whether a survey and its prediction look right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ..draw import SALT, TRUTH, Picture
from ._panels import HEIGHT, INK, WIDTH, Axis, Panel, arrange, colours, fit, font, outline

EDGES = np.linspace(-4, 4, 33)
"""Edges of the bins of the histogram, in standard deviations from the mean."""

TILE_HISTOGRAM = 1e-3 * np.array([
    0.50, 0.70, 1.01, 1.51, 2.32, 3.58, 5.57, 8.57, 13.12, 19.60, 28.44, 40.71, 56.48, 77.23, 102.01, 140.35,
    135.95, 103.60, 77.12, 55.78, 39.70, 27.65, 18.65, 12.41, 8.19, 5.34, 3.53, 2.32, 1.59, 1.14, 0.84, 0.62,
])  # fmt: skip
"""Part of the pixels in each bin, in 3200 training tiles of the TGS challenge without those of one gray; each tile is
standardised by itself."""

DEAD = (214, 222, 234)
"""Colour of dead and missing traces."""

_LINES = 8
"""Inlines that the histogram is taken from."""

_OPACITY = 0.35
_KINDS = ("inline", "crossline", "sample")
_DISAGREEMENT = 0.5
"""Largest half of the difference of two probabilities."""

Numbers = Sequence[float] | npt.NDArray[Any]


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
    threshold: float = 0.5,
    axes: tuple[Numbers, Numbers, Numbers] | None = None,
    unit: str = "",
    title: str = "",
    notes: Sequence[str] = (),
) -> Picture:
    """Return a page of an inline, a crossline and a time or depth slice, each with and without the predicted salt.

    Gray goes from black to white, equally far from 0, and holds 98 % of the amplitudes. Salt is orange, more opaque
    the more probable, with an outline at the threshold; dashed lines show where the other sections are. Below are the
    histogram of standardised amplitudes beside that of the tiles the published models were trained on, and, of the
    inline, the disagreement of directions, or the probability without one. Reads three sections of each volume and 8
    inlines. `save_png` of `saltzoo.draw` writes the page.

    Args:
        amplitudes: (inline, crossline, sample): anything that slices like an array. NaN marks dead traces.
        probabilities: probabilities in 0..1 or a bool mask, of the same shape.
        disagreement: half of the difference between directions, in 0..1, of the same shape.
        at: indices of the inline, the crossline and the sample that are shown; None for the middle.
        threshold: probability at which salt is outlined.
        axes: number of each inline and crossline, and time or depth of each sample; None for indices.
        unit: unit of the samples, "ms" or "m"; "" if unknown.
        title: line at the top.
        notes: lines below the title.

    Returns:
        H W 3, uint8.

    Raises:
        ValueError: if the shapes differ, an index is out of range, or probabilities or disagreement go beyond 0..1.
    """
    shape = tuple(amplitudes.shape)
    chosen = _check(shape, probabilities, disagreement, at)
    numbers = [np.arange(n) for n in shape] if axes is None else [np.asarray(one, np.float64) for one in axes]
    limit, histogram = _statistics(amplitudes)
    panels: list[Panel] = []
    for axis in range(3):
        caption = _caption(axis, float(numbers[axis][chosen[axis]]), unit)
        x, y = _axes_of(axis, numbers, chosen, unit)
        gray = _gray(_section(amplitudes, axis, chosen[axis]), limit)
        salt = _fractions("probabilities", _section(probabilities, axis, chosen[axis]))
        panels += [
            Panel(caption, gray, x, y),
            Panel(f"{caption}, predicted salt", _with_salt(gray, fit(salt), threshold), _plain(x), _plain(y)),
        ]
    panels.append(_plot(histogram))
    x, y = _axes_of(0, numbers, chosen, unit)
    caption = _caption(0, float(numbers[0][chosen[0]]), unit)
    if disagreement is None:
        values, what, largest = _section(probabilities, 0, chosen[0]), "probability of salt", 1.0
    else:
        values, what = _section(disagreement, 0, chosen[0]), "disagreement of directions"
        largest = _DISAGREEMENT
    shown = colours(fit(_fractions("disagreement", values)), largest)
    panels.append(Panel(f"{caption}, {what}", shown, _plain(x), _plain(y), largest))
    return arrange(panels, title, notes)


def _check(
    shape: tuple[int, ...], probabilities: Volume, disagreement: Volume | None, at: tuple[int, int, int] | None
) -> tuple[int, ...]:
    """Return the indices of the sections."""
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
    return chosen


def _caption(axis: int, number: float, unit: str) -> str:
    if axis < 2 or not unit:
        return f"{_KINDS[axis]} {number:g}"
    return f"{'depth' if unit == 'm' else 'time'} {number:g} {unit}"


def _axes_of(axis: int, numbers: list[npt.NDArray[Any]], at: tuple[int, ...], unit: str) -> tuple[Axis, Axis]:
    """Return the axes of a section: those of a slice have crosslines to the right and inlines upwards."""
    names = [*_KINDS[:2], unit or "sample"]
    kinds = [Axis(names[k], float(numbers[k][0]), float(numbers[k][-1]), float(numbers[k][at[k]])) for k in range(3)]
    inline, crossline, sample = kinds
    if axis == 2:
        return crossline, Axis(inline.name, inline.last, inline.first, inline.mark)
    return (crossline, sample) if axis == 0 else (inline, sample)


def _plain(axis: Axis) -> Axis:
    return Axis(axis.name, axis.first, axis.last)


def _section(volume: Volume, axis: int, index: int) -> npt.NDArray[np.float32]:
    """Return a line as (sample, trace), or a slice as (inline, crossline), the last inline first."""
    key = tuple(index if axis == one else slice(None) for one in range(3))
    section = np.asarray(volume[key]).astype(np.float32)
    return section[::-1] if axis == 2 else section.T


def _fractions(name: str, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    known = np.where(np.isnan(values), np.float32(0), values)
    if known.size and not (known.min() >= 0 and known.max() <= 1):
        raise ValueError(f"{name} must be in 0..1, got {known.min():g} to {known.max():g}: pass no logits")
    return known


def _statistics(amplitudes: Volume) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the amplitude that is white, and the part of the live samples in each bin, from some inlines."""
    picked = np.unique(np.linspace(0, amplitudes.shape[0] - 1, _LINES).round().astype(int)).tolist()
    lines = [np.asarray(amplitudes[index]).astype(np.float64) for index in picked]
    # A dead trace is NaN, or 0 from end to end.
    live = [line[np.isfinite(line).all(axis=1) & (line != 0).any(axis=1)].ravel() for line in lines]
    values = np.concatenate(live)
    if not values.size:
        return 1.0, np.zeros(len(TILE_HISTOGRAM))
    standard = (values - values.mean()) / max(float(values.std()), 1e-30)
    return float(np.percentile(np.abs(values), 98)) or 1.0, np.histogram(standard, EDGES)[0] / values.size


def _gray(section: npt.NDArray[np.float32], limit: float) -> Picture:
    dead = ~np.isfinite(section)
    gray = np.rint(127.5 + 127.5 * np.clip(fit(np.where(dead, 0, section)) / limit, -1, 1))
    return np.where((fit(dead.astype(np.float32)) > 0.5)[..., None], DEAD, gray[..., None]).astype(np.uint8)


def _with_salt(gray: Picture, salt: npt.NDArray[np.float32], threshold: float) -> Picture:
    alpha = _OPACITY * salt[..., None]
    picture = np.rint(gray * (1 - alpha) + np.array(SALT) * alpha).astype(np.uint8)
    picture[outline(salt > threshold)] = SALT
    return picture


def _plot(histogram: npt.NDArray[np.float64]) -> Panel:
    """Draw two histograms as steps over the same axis."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    highest = max(float(histogram.max()), float(TILE_HISTOGRAM.max()))
    edges = np.repeat(np.linspace(0, WIDTH - 1, len(EDGES)), 2)[1:-1].tolist()
    for row, (values, colour, name) in enumerate(
        ((TILE_HISTOGRAM, TRUTH, "training tiles"), (histogram, SALT, "this survey"))
    ):
        heights = (HEIGHT - 1 - (HEIGHT - 12) * np.repeat(values, 2) / highest).tolist()
        pen.line(list(zip(edges, heights, strict=True)), fill=colour, width=2)
        pen.line((14, 22 + 20 * row, 40, 22 + 20 * row), fill=colour, width=3)
        pen.text((48, 22 + 20 * row), name, fill=INK, font=font(13), anchor="lm")
    axis = Axis("standard deviations from the mean", float(EDGES[0]), float(EDGES[-1]))
    return Panel("amplitudes: part of the samples in each bin", np.asarray(picture), axis)
