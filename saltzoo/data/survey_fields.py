"""Building blocks of a synthetic survey: periodic noise in three dimensions, and reflections with a known wavelet.

Every field has a value for each voxel that depends on nothing but the position, so that any inline can be drawn alone.
Planes have the shape (crosslines, samples), and axes the order inline, crossline, sample.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .synthetic_fields import Band, Field

Plane = npt.NDArray[np.float32]

PERIODS = ((72, 80, 96), (64, 90, 100))
"""Periods in voxels of the two blocks of noise, which come together again after 576 inlines."""

_ROWS = 2
"""Rows in a pixel of the texture of layers."""
_COLUMNS = 40
_STRETCHES = np.geomspace(0.5, 2.5, 7)


class Noise:
    """Gaussian noise of unit standard deviation that fills all of space, blurred or limited to a band.

    Args:
        rng: source of the white noise.
        along: standard deviation of the blur along the layers, pixels.
        across: standard deviation of the blur across the layers, pixels.
        dip: slopes of the layers, samples per inline and per crossline.
        band: band to which the noise is limited; None leaves it as it is.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        along: float,
        across: float,
        dip: tuple[float, float] = (0.0, 0.0),
        band: Band | None = None,
    ) -> None:
        self._blocks = [_noise_block(rng, shape, along, across, dip, band) for shape in PERIODS]

    def plane(self, inline: int, shape: tuple[int, int]) -> Plane:
        """Return the noise of one inline, (crosslines, samples)."""
        total = np.zeros(shape, np.float32)
        for block in self._blocks:
            lines, rows, columns = block.shape
            across, down = np.arange(shape[0]) % rows, np.arange(shape[1]) % columns
            total += block[inline % lines][across[:, None], down]
        return total


def _noise_block(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    along: float,
    across: float,
    dip: tuple[float, float],
    band: Band | None,
) -> Plane:
    fi, fx, fz = np.meshgrid(*(np.fft.fftfreq(length) for length in shape[:2]), np.fft.rfftfreq(shape[2]), indexing="ij")
    # A layer that dips has its normal along (-dip, 1).
    normal = np.array([-dip[0], -dip[1], 1.0]) / np.sqrt(dip[0] ** 2 + dip[1] ** 2 + 1)
    f_across = fi * normal[0] + fx * normal[1] + fz * normal[2]
    squared = fi**2 + fx**2 + fz**2
    f_along_squared = np.maximum(squared - f_across**2, 0)
    gain = np.exp(-2 * np.pi**2 * (along**2 * f_along_squared + across**2 * f_across**2))
    if band is not None:
        gain = gain * band.gain(np.sqrt(squared))
    gain[0, 0, 0] = 0
    white = rng.standard_normal(shape, dtype=np.float32)
    block = np.fft.irfftn(np.fft.rfftn(white) * gain.astype(np.float32), s=shape, axes=(0, 1, 2))
    return (block / (block.std() * np.sqrt(len(PERIODS)))).astype(np.float32)


class Layers:
    """Reflections of layers that fade and break off laterally, about 1 in standard deviation.

    The band of a survey limits what it shows across a layer, however thick the layer is. So the texture is kept for
    several stretches, each filtered to give this band after the stretch.

    Args:
        rng: source of the reflectivity.
        band: band of the survey.
        depth: thickness of the series before it repeats, pixels.
    """

    def __init__(self, rng: np.random.Generator, band: Band, *, depth: int) -> None:
        rows = _ROWS * depth
        spikes = np.zeros(rows)
        spikes[::_ROWS] = rng.laplace(size=depth) * (rng.random(depth) < rng.uniform(0.5, 1.0))
        self._spacing = rng.lognormal(np.log(14), 0.4)
        fade = rng.standard_normal((rows, _COLUMNS, _COLUMNS))
        texture = spikes[:, None, None] * (1 + rng.uniform(0.2, 0.9) * fade)
        spectrum = np.fft.rfft(texture, axis=0)
        frequency = _ROWS * np.fft.rfftfreq(rows)
        levels = []
        for stretch in _STRETCHES:
            response = stretch * band.gain(frequency * stretch) * band.rotation(frequency * stretch)
            levels.append(np.fft.irfft(spectrum * response[:, None, None], n=rows, axis=0))
        unit = levels[int(np.argmin(np.abs(_STRETCHES - 1)))].std()
        self._levels = (np.stack(levels) / unit).astype(np.float32)

    def __call__(self, across: Field, inline: Field, crossline: Field, stretch: Field) -> Plane:
        """Return the reflections at positions in the layers.

        Args:
            across: position across the layers, pixels.
            inline: position along the layers in the first direction, pixels.
            crossline: position along the layers in the second direction, pixels.
            stretch: change of `across` for each pixel across the layer.
        """
        step = np.log(_STRETCHES[1] / _STRETCHES[0])
        level = np.clip(np.log(np.maximum(stretch, 1e-3) / _STRETCHES[0]) / step, 0, len(_STRETCHES) - 1.001)
        axes = (level, _ROWS * across, inline / self._spacing, crossline / self._spacing)
        return _sample(self._levels, axes)


def _sample(texture: Plane, positions: tuple[Field, ...]) -> Plane:
    """Return values of a periodic array between its points, linear in each axis."""
    total = np.zeros(positions[0].shape, np.float32)
    floors = [np.floor(position) for position in positions]
    parts = [(position - floor).astype(np.float32) for position, floor in zip(positions, floors, strict=True)]
    starts = [floor.astype(np.intp) for floor in floors]
    for corner in np.ndindex((2,) * texture.ndim):
        weight = np.ones((), np.float32)
        index = np.zeros((), np.intp)
        for side, start, part, length in zip(corner, starts, parts, texture.shape, strict=True):
            weight = weight * (part if side else 1 - part)
            index = index * length + (start + side) % length
        total += weight * texture.ravel()[index]
    return total


class Wavelet:
    """Reflection of one interface at a signed distance from it, at most 1 in absolute value.

    Args:
        band: band of the survey.
        thickness: standard deviation of the interface, pixels.
    """

    def __init__(self, band: Band, *, thickness: float = 1.2) -> None:
        self._half, self._step = 512, 0.25
        count = int(2 * self._half / self._step)
        frequency = np.fft.rfftfreq(count, self._step)
        spectrum = band.gain(frequency) * np.exp(-2 * np.pi**2 * (thickness * frequency) ** 2) * band.rotation(frequency)
        values = np.fft.fftshift(np.fft.irfft(spectrum, n=count))
        self._values = values / np.abs(values).max()
        self._positions = (np.arange(count) - count // 2) * self._step

    def __call__(self, below: Field) -> Field:
        """Return the reflection at a distance below the interface, pixels."""
        return np.interp(below, self._positions, self._values)
