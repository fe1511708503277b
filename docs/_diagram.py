"""Draw a network as SVG from the maps that it computes; equal networks give equal bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

import saltzoo

SIDE = 128  # of the image whose maps are drawn
WIDTH, ROW, TOP = 720, 62, 46
BLUE, ORANGE, GREEN, GRAY = "#4C8BBF", "#D9822B", "#3D9970", "#555555"
_HEAD_OF_ARROW = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
    f'<path d="M 0 0 L 8 4 L 0 8 z" fill="{GRAY}"/></marker></defs>'
)


class Map(NamedTuple):
    """Channels and side of a feature map."""

    channels: int
    side: int


def maps_of(model: saltzoo.Segmenter) -> tuple[list[Map], list[Map]]:
    """Return the maps of the encoder, finest first, and of the decoder, coarsest first, for an image of SIDE."""
    features = model.encoder(torch.zeros(1, model.in_chans, SIDE, SIDE, device="meta"))
    decoded = model.decoder(features, torch.Size((SIDE, SIDE)))
    left, right = ([Map(found.shape[1], found.shape[-1]) for found in maps] for maps in (features, decoded))
    return left, right


def draw(model: saltzoo.Segmenter, title: str) -> str:
    """Return the SVG of a network: encoder at the left, decoder at the right, a row for each size of map."""
    left, right = maps_of(model)
    sides = sorted({found.side for found in [*left, *right]} | {SIDE}, reverse=True)
    level = {side: TOP + 24 + row * ROW for row, side in enumerate(sides)}
    height = TOP + ROW * len(sides) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">',
        f"<title>{title}</title>",
        _HEAD_OF_ARROW,
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(160, 24, type(model.encoder).__name__, BLUE),
        _text(470, 24, type(model.decoder).__name__, ORANGE),
        _text(650, 24, type(model.head).__name__.removesuffix("Head") + " head", GREEN),
    ]
    parts += [_text(22, level[side] + 4, f"{side}", GRAY) for side in sides]
    for found in left:
        parts += _box(160, level[found.side], found, BLUE)
    for found in right:
        parts += _box(470, level[found.side], found, ORANGE)
    parts += _arrows([(160, level[found.side]) for found in left], BLUE)
    parts += _arrows([(470, level[found.side]) for found in right], ORANGE)
    skips = {found.side for found in left[:-1]} & {found.side for found in right}
    parts += [_line(236, level[side], 392, level[side], GRAY, dashed=True) for side in sorted(skips)]
    parts.append(_into_decoder(level[left[-1].side], level[right[0].side]))
    parts.append(f'<rect x="615" y="{level[SIDE] - 15}" width="70" height="30" rx="4" fill="{GREEN}"/>')
    parts.append(_text(650, level[SIDE] + 5, "logits", "white"))
    used = right if type(model.head).__name__ == "HypercolumnHead" else right[-1:]
    parts += [_line(546, level[found.side], 615, level[SIDE] + 8, GREEN) for found in used]
    return "\n".join([*parts, "</svg>", ""])


def _box(x: int, y: int, found: Map, color: str) -> list[str]:
    width = round(30 + 11 * math.log2(found.channels + 1))
    return [
        f'<rect x="{x - width // 2}" y="{y - 14}" width="{width}" height="28" rx="4" fill="{color}"/>',
        _text(x, y + 5, str(found.channels), "white"),
    ]


def _into_decoder(start: int, end: int) -> str:
    """Return the path from the coarsest map to the decoder, which begins beside it or with a finer map above it."""
    if start == end:
        return _line(236, start, 392, end, GRAY)
    path = f"M 236 {start} H 470 V {end + 15}"
    return f'<path d="{path}" fill="none" stroke="{GRAY}" stroke-width="1.6" marker-end="url(#head)"/>'


def _arrows(points: Sequence[tuple[int, int]], color: str) -> list[str]:
    found = []
    for (x, start), (_, end) in pairwise(points):
        sign = 15 if end > start else -15
        found.append(_line(x, start + sign, x, end - sign, color))
    return found


def _line(x1: int, y1: int, x2: int, y2: int, color: str, *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    where = f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
    return f'<line {where} stroke="{color}" stroke-width="1.6" marker-end="url(#head)"{dashes}/>'


def _text(x: int, y: int, text: str, color: str) -> str:
    return f'<text x="{x}" y="{y}" fill="{color}" text-anchor="middle">{text}</text>'
