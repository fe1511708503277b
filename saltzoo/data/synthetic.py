"""Synthetic tiles that resemble those of the TGS challenge, for tests, examples and first training runs.

A tile shows a salt body with rough faces and the bent layers beside it, both limited to the frequency band of a
survey. The constants were tuned by hand until 500 synthetic tiles were close to 1200 real ones in spectra,
autocorrelation, kurtosis, dips and coverage. No pixel of a real tile is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .synthetic_fields import Band, Field, sample, smooth_line, smooth_noise, unit_deviation
from .tiles import Tiles

MIN_SIZE = 32
MARGIN = 24
"""Pixels on each side that are drawn and cropped, because filters wrap around the grid."""


def synthetic_tile(seed: int, *, size: int = 101) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return a tile and its mask: the first tile of `synthetic_tiles` with the same seed.

    Args:
        seed: integer from 0. The same seed gives the same tile in every process.
        size: height and width, pixels, 32 or more.

    Returns:
        Image, H W uint8, which spans 0..255 as real tiles do, and mask, H W bool, True for salt.

    Raises:
        ValueError: if the seed is negative or the size is too small.

    Example:
        >>> image, mask = synthetic_tile(7)
        >>> image.shape, image.dtype.name, mask.dtype.name
        ((101, 101), 'uint8', 'bool')
    """
    _check(count=1, seed=seed, size=size, start=0)
    return _draw(np.random.default_rng(np.random.SeedSequence((seed, 0))), size)


def synthetic_tiles(count: int, *, seed: int = 0, size: int = 101, start: int = 0) -> Tiles:
    """Return the tiles `start` to `start + count - 1` of the endless series with this seed.

    Tile i depends on `seed`, i and `size` alone, so several workers can draw parts of one series.

    Args:
        count: number of tiles.
        seed: number of the series, an integer from 0.
        size: height and width, pixels, 32 or more.
        start: index of the first tile.

    Returns:
        Tiles with masks, without depths, with ids such as `synthetic_0_000017`.

    Raises:
        ValueError: if `count`, `seed` or `start` is negative, or the size is too small.

    Example:
        >>> synthetic_tiles(2, seed=3, start=17).ids
        ('synthetic_3_000017', 'synthetic_3_000018')
    """
    _check(count=count, seed=seed, size=size, start=start)
    images = np.empty((count, size, size), np.uint8)
    masks = np.empty((count, size, size), np.bool_)
    for row in range(count):
        rng = np.random.default_rng(np.random.SeedSequence((seed, start + row)))
        images[row], masks[row] = _draw(rng, size)
    ids = tuple(f"synthetic_{seed}_{index:06d}" for index in range(start, start + count))
    return Tiles(ids, images, masks)


def _check(*, count: int, seed: int, size: int, start: int) -> None:
    for name, value in (("count", count), ("seed", seed), ("start", start), ("size", size)):
        if not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be a whole number, got {value!r}")
        if value < 0:
            raise ValueError(f"{name} must be 0 or more, got {value}")
    if size < MIN_SIZE:
        raise ValueError(f"size must be at least {MIN_SIZE} pixels, got {size}: draw a larger tile and crop it")


@dataclass(frozen=True)
class _Salt:
    """Salt body on the grid.

    Attributes:
        depth: H W, approximate distance to the boundary in pixels, positive inside.
        polarity: H W, 1 where salt lies below the nearest face, -1 where it lies above.
    """

    depth: Field
    polarity: Field


def _draw(rng: np.random.Generator, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    axis = np.arange(size + 2 * MARGIN) - (size - 1) / 2 - MARGIN
    z, x = np.meshgrid(axis, axis, indexing="ij")
    band = _draw_band(rng)
    salt = _draw_salt(rng, z, x, size) if rng.random() < 0.66 else None
    picture = _sediment(rng, z, x, salt, band)
    if salt is not None:
        picture = _with_salt(rng, picture, salt, band)
    elif band.peak > 0.02 and rng.random() < 0.14:
        picture = _with_water(rng, picture, z, x, size, band)
    inner = slice(MARGIN, MARGIN + size)
    mask = np.zeros((size, size), np.bool_) if salt is None else salt.depth[inner, inner] > 0
    return _stretch(picture[inner, inner]), mask


def _draw_band(rng: np.random.Generator) -> Band:
    return Band(
        peak=float(np.clip(0.0205 * np.exp(0.5 * rng.standard_normal()), 0.011, 0.1)),
        rise=rng.uniform(1.4, 3.4),
        fall=rng.uniform(0.6, 1.0),
        phase=rng.uniform(-1.2, 1.2),
        blur=rng.uniform(0.0, 0.5),
    )


def _draw_salt(rng: np.random.Generator, z: Field, x: Field, size: int) -> _Salt:
    """Salt bounded by one to three rough faces, sometimes inverted."""
    faces = rng.choice([1, 2, 3], p=[0.6, 0.32, 0.08])
    depth, polarity = _draw_face(rng, z, x, size)
    for _ in range(faces - 1):
        other, other_polarity = _draw_face(rng, z, x, size)
        polarity = np.where(other < depth, other_polarity, polarity)
        # The smooth minimum rounds the edge between two faces.
        rounding = rng.uniform(1.0, 8.0)
        depth = -rounding * np.logaddexp(-depth / rounding, -other / rounding)
    if faces > 1 and rng.random() < 0.15:
        depth, polarity = -depth, -polarity
    return _Salt(depth, polarity)


def _draw_face(rng: np.random.Generator, z: Field, x: Field, size: int) -> tuple[Field, Field]:
    """Depth field and polarity of a rough, bent line across the tile."""
    upright = rng.random() < 0.25
    towards = rng.normal(np.pi / 2, 0.7) if upright else rng.uniform(-np.pi, np.pi)
    nz, nx = np.sin(towards), np.cos(towards)
    reach = 0.5 * size * (abs(nz) + abs(nx))
    along = x * nz - z * nx
    bend = rng.normal(0, 0.3) / size * along**2
    waves = rng.gamma(1.5, 1.8) * smooth_line(rng, along, scale=rng.uniform(8, 20))
    roughness = rng.gamma(1.0, 0.5) * smooth_line(rng, along, scale=rng.uniform(1.5, 4))
    depth = z * nz + x * nx + bend + waves + roughness + rng.uniform(-1.0, 0.82) * reach
    return depth, np.full(z.shape, 1.0 if nz > 0 else -1.0)


def _sediment(rng: np.random.Generator, z: Field, x: Field, salt: _Salt | None, band: Band) -> Field:
    """Band-limited layers and noise of unit standard deviation, H W."""
    across, along = _bedding(rng, z, x, salt)
    layers = unit_deviation(band(_layers(rng, across, along, band)))
    dip = rng.normal(0, 0.8)
    noise = unit_deviation(band(smooth_noise(rng, z.shape, along=rng.uniform(0.5, 4), across=0.5, dip=dip)))
    amount = rng.lognormal(np.log(0.45), 0.7)
    patches = np.exp(0.3 * smooth_noise(rng, z.shape, along=25, across=15))
    return unit_deviation(layers + amount * patches * noise)


def _bedding(rng: np.random.Generator, z: Field, x: Field, salt: _Salt | None) -> tuple[Field, Field]:
    """Coordinates across and along the layers, pixels, H W each."""
    dip = 1.5 * np.tanh(0.45 * rng.standard_t(3))
    across = z * np.cos(dip) - x * np.sin(dip)
    along = x * np.cos(dip) + z * np.sin(dip)
    for _ in range(rng.integers(1, 5)):
        across = across + _fold(rng, z, x)
    if salt is not None:
        # Rising salt drags the layers beside it.
        reach = rng.uniform(8, 40)
        across = across + rng.normal(0, 20) * np.exp(np.minimum(salt.depth, 0) / reach)
    for _ in range(rng.poisson(0.7)):
        across = across + _fault(rng, z, x)
    across = across + rng.gamma(1.2, 0.9) * smooth_noise(rng, z.shape, along=rng.uniform(3, 10), across=6)
    return across, along


def _fold(rng: np.random.Generator, z: Field, x: Field) -> Field:
    """Bell-shaped uplift that grows with depth, pixels."""
    half = abs(float(z[0, 0]))
    bell = np.exp(-0.5 * ((x - rng.uniform(-half, half)) / rng.uniform(12, 45)) ** 2)
    growth = 0.5 + 0.5 * rng.random() * (1 + z / half)
    return rng.normal(0, 15) * bell * growth


def _fault(rng: np.random.Generator, z: Field, x: Field) -> Field:
    """Throw on one side of a steep fault plane, pixels."""
    half = abs(float(z[0, 0]))
    angle = np.radians(rng.uniform(60, 85)) * rng.choice([-1, 1])
    side = np.sin(angle) * (x - rng.uniform(-half, half)) + np.cos(angle) * z
    return rng.uniform(3, 18) * rng.choice([-1, 1]) / (1 + np.exp(np.clip(-side / 0.7, -50, 50)))


def _layers(rng: np.random.Generator, across: Field, along: Field, band: Band) -> Field:
    """Reflectivity of layers that fade and break off laterally, H W."""
    rows, columns = 512, 256
    spikes = rng.laplace(size=rows) * (rng.random(rows) < rng.uniform(0.5, 1.0))
    length = rng.lognormal(np.log(14), 0.6)
    fade = smooth_noise(rng, (rows, columns), along=length, across=0.7)
    texture = spikes[:, None] * (1 + rng.uniform(0.2, 1.2) * fade)
    stripes = np.exp(rng.uniform(0, 0.4) * smooth_line(rng, across, scale=0.2 / band.peak))
    return stripes * sample(texture, across + rows / 2, along + columns / 2)


def _with_salt(rng: np.random.Generator, sediment: Field, salt: _Salt, band: Band) -> Field:
    """Sediment with a quiet salt body and the reflection of its boundary, H W."""
    dip = rng.uniform(-np.pi / 2, np.pi / 2)
    noise = smooth_noise(rng, sediment.shape, along=rng.uniform(1.5, 8), across=rng.uniform(0.5, 2), dip=dip)
    quiet = rng.lognormal(np.log(0.5), 0.5) * unit_deviation(band(noise))
    inside = 1 / (1 + np.exp(np.clip(-salt.depth * 30 * band.peak, -50, 50)))
    return sediment * (1 - inside) + quiet * inside + _boundary(rng, salt, band)


def _boundary(rng: np.random.Generator, salt: _Salt, band: Band) -> Field:
    """Reflection of the salt boundary, in standard deviations of the sediment, H W."""
    shape = salt.depth.shape
    sign = 1.0 if rng.random() < 0.75 else -1.0
    spikes = sign * salt.polarity * np.exp(-0.5 * (salt.depth / 1.2) ** 2)
    patches = np.exp(0.35 * smooth_noise(rng, shape, along=12, across=12))
    beads = 1 + rng.uniform(0, 0.8) * smooth_noise(rng, shape, along=2.5, across=2.5)
    reflection = band(spikes * patches * beads)
    return rng.lognormal(np.log(6.0), 0.5) * reflection / max(float(np.abs(reflection).max()), 1e-12)


def _with_water(rng: np.random.Generator, sediment: Field, z: Field, x: Field, size: int, band: Band) -> Field:
    """Sediment that fades with depth below a bright sea floor, and still water above it, H W."""
    floor = rng.uniform(-0.4, 0.35) * size + rng.normal(0, 0.15) * x + 3 * smooth_line(rng, x, scale=25)
    below = z - floor
    bright = band(np.exp(-0.5 * (below / 0.8) ** 2))
    bright *= rng.uniform(4, 10) / np.abs(bright).max()
    fading = np.exp(-np.maximum(below, 0) / (size * rng.uniform(0.3, 1.5)))
    return sediment * fading * (below > 0) + bright


def _stretch(picture: Field) -> npt.NDArray[np.uint8]:
    """Image scaled to 0..255 from its darkest to its brightest pixel, as real tiles are stored."""
    low, high = float(picture.min()), float(picture.max())
    return np.rint(255 * (picture - low) / (high - low)).astype(np.uint8)
