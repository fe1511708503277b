"""Panels of a page with Pillow alone: pictures in a frame with numbered axes, curves, and a scale of colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ..draw import Color, Picture

WIDTH, HEIGHT = 560, 330
"""Size of what is inside a frame."""

LEFT, TOP, RIGHT, BOTTOM = 62, 26, 48, 44
"""Room around a frame for its caption, its axes and its scale."""

INK: Color = (40, 40, 40)
MARK: Color = (0, 120, 220)
_SCALE: tuple[Color, ...] = ((255, 255, 255), (253, 212, 158), (252, 141, 89), (215, 48, 31), (103, 0, 31))
"""Colours of values from 0 to the largest: they grow darker, also without colours."""


@dataclass(frozen=True)
class Axis:
    """An axis of a panel.

    Attributes:
        name: name, with a unit.
        first: number of the first row or column.
        last: number of the last one.
        mark: number at which a dashed line is drawn; None for none.
    """

    name: str
    first: float
    last: float
    mark: float | None = None

    def place(self, number: float, length: int) -> float:
        """Return the pixel of a number on an axis of `length` pixels; numbers stand for the centres of their cells."""
        span = self.last - self.first
        return length / 2 if not span else (number - self.first) / span * (length - 1)

    def ticks(self, most: int) -> list[float]:
        """Return `most` round numbers at most."""
        low, high = sorted((self.first, self.last))
        if low == high:
            return [low]
        rough = (high - low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
        first = math.ceil(low / step - 1e-9)
        return [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Panel:
    """A picture in a frame.

    Attributes:
        caption: line above it.
        picture: HEIGHT WIDTH 3, uint8.
        x: axis below it.
        y: axis at its left; None for none.
        scale: largest value of the scale of colours at its right; None for none.
    """

    caption: str
    picture: Picture
    x: Axis
    y: Axis | None = None
    scale: float | None = None


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font."""
    return ImageFont.load_default(size)


def fit(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return H W values resized to the frame, averaged where there are more of them than pixels."""
    resized = Image.fromarray(np.ascontiguousarray(values, np.float32)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BILINEAR
    )
    return np.asarray(resized)


def colours(values: npt.NDArray[np.float32], largest: float) -> Picture:
    """Return values from 0 to the largest in colours, H W 3."""
    places = np.linspace(0, 1, len(_SCALE))
    fractions = np.clip(values / largest, 0, 1)
    return (
        np.stack([np.interp(fractions, places, one) for one in np.transpose(_SCALE)], axis=-1).round().astype(np.uint8)
    )


def outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the border of a mask, 2 pixels wide, on both of its sides; the picture's own border is none."""
    padded = np.pad(mask, 1, mode="edge")
    centre = padded[1:-1, 1:-1]
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.logical_or.reduce([centre != side for side in sides])


def arrange(panels: Sequence[Panel], title: str, notes: Sequence[str]) -> Picture:
    """Put panels into two columns on white, below a title and notes."""
    head = 40 + 18 * len(notes)
    width, height = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM
    sheet = Image.new("RGB", (2 * width, head + -(-len(panels) // 2) * height), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    pen.text((LEFT, 10), title, fill=INK, font=font(17))
    for row, note in enumerate(notes):
        pen.text((LEFT, 36 + 18 * row), note, fill=INK, font=font(13))
    for position, panel in enumerate(panels):
        corner = (position % 2 * width + LEFT, head + position // 2 * height + TOP)
        sheet.paste(Image.fromarray(panel.picture), corner)
        _draw_frame(pen, panel, corner)
        if panel.scale is not None:
            _draw_scale(sheet, pen, panel.scale, corner)
    return np.asarray(sheet)


def _draw_frame(pen: ImageDraw.ImageDraw, panel: Panel, corner: tuple[int, int]) -> None:
    x, y = corner
    small = font(12)
    pen.text((x, y - 20), panel.caption, fill=INK, font=font(14))
    pen.rectangle((x - 1, y - 1, x + WIDTH, y + HEIGHT), outline=INK)
    for number in panel.x.ticks(6):
        at = x + panel.x.place(number, WIDTH)
        pen.line((at, y + HEIGHT, at, y + HEIGHT + 5), fill=INK)
        pen.text((at, y + HEIGHT + 6), f"{number:g}", fill=INK, font=small, anchor="ma")
    pen.text((x + WIDTH / 2, y + HEIGHT + 21), panel.x.name, fill=INK, font=small, anchor="ma")
    if panel.x.mark is not None:
        at = x + panel.x.place(panel.x.mark, WIDTH)
        for start in range(y, y + HEIGHT, 12):
            pen.line((at, start, at, min(start + 5, y + HEIGHT - 1)), fill=MARK)
    if panel.y is None:
        return
    for number in panel.y.ticks(5):
        at = y + panel.y.place(number, HEIGHT)
        pen.line((x - 6, at, x - 1, at), fill=INK)
        pen.text((x - 8, at), f"{number:g}", fill=INK, font=small, anchor="rm")
    pen.text((x - 8, y - 20), panel.y.name, fill=INK, font=small, anchor="ra")
    if panel.y.mark is not None:
        at = y + panel.y.place(panel.y.mark, HEIGHT)
        for start in range(x, x + WIDTH, 12):
            pen.line((start, at, min(start + 5, x + WIDTH - 1), at), fill=MARK)


def _draw_scale(sheet: Image.Image, pen: ImageDraw.ImageDraw, largest: float, corner: tuple[int, int]) -> None:
    x, y = corner[0] + WIDTH + 8, corner[1]
    ramp = np.repeat(np.linspace(largest, 0, HEIGHT, dtype=np.float32)[:, None], 12, axis=1)
    sheet.paste(Image.fromarray(colours(ramp, largest)), (x, y))
    pen.rectangle((x - 1, y - 1, x + 12, y + HEIGHT), outline=INK)
    for value in (0, largest / 2, largest):
        at = y + (1 - value / largest) * (HEIGHT - 1)
        pen.text((x + 15, at), f"{value:g}", fill=INK, font=font(12), anchor="lm")
