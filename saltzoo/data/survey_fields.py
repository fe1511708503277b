"""Building blocks of a synthetic survey: periodic noise in three dimensions, and reflections with a known wavelet.

Every field has a value for each voxel that depends on nothing but the position, so that any inline can be drawn alone.
Planes have the shape (crosslines, samples), and axes the order inline, crossline, sample.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .synthetic_fields import Band, Field

Plane = npt.NDArray[np.float32]

PERIODS = ((60, 72, 90), (54, 64, 100))
"""Periods in voxels of the two blocks of noise, which come together again after 540 inlines."""

_ROWS = 2
"""Rows in a pixel of the texture of layers."""
_COLUMNS = 24
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
    fi, fx, fz = np.meshgrid(
        *(np.fft.fftfreq(length) for length in shape[:2]), np.fft.rfftfreq(shape[2]), indexing="ij"
    )
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
        fade = rng.standard_normal((_COLUMNS, _COLUMNS, rows), dtype=np.float32)
        spectrum = np.fft.rfft(spikes.astype(np.float32) * (1 + np.float32(rng.uniform(0.2, 0.9)) * fade))
        frequency = _ROWS * np.fft.rfftfreq(rows)
        texture = np.empty((_COLUMNS, _COLUMNS, len(_STRETCHES), rows), np.float32)
        for level, stretch in enumerate(_STRETCHES):
            response = stretch * band.gain(frequency * stretch) * band.rotation(frequency * stretch)
            texture[:, :, level] = np.fft.irfft(spectrum * response.astype(np.complex64), n=rows)
        unstretched = int(np.argmin(np.abs(_STRETCHES - 1)))
        self._texture = texture / texture[:, :, unstretched].std()

    def plane(self, inline: int, across: Field, stretch: Field) -> Plane:
        """Return the reflections of one inline, (crosslines, samples).

        Args:
            inline: number of the inline.
            across: position across the layers, pixels, (crosslines, samples).
            stretch: change of `across` for each pixel across the layer, (crosslines, samples).
        """
        section = _between(self._texture, np.array([inline / self._spacing]))[0]
        traces = _between(section, np.arange(len(across)) / self._spacing)  # crosslines, levels, rows
        step = np.log(_STRETCHES[1] / _STRETCHES[0])
        level = np.clip(np.log(np.maximum(stretch, 1e-3) / _STRETCHES[0]) / step, 0, len(_STRETCHES) - 1.001)
        level_floor, row_floor = np.floor(level), np.floor(_ROWS * across)
        level_part, row_part = level - level_floor, _ROWS * across - row_floor
        rows = traces.shape[2]
        upper = row_floor.astype(np.intp) % rows
        lower = (upper + 1) % rows
        crossline = np.arange(len(across))[:, None]
        total = np.zeros(across.shape)
        for offset, weight in ((0, 1 - level_part), (1, level_part)):
            start = (crossline * len(_STRETCHES) + level_floor.astype(np.intp) + offset) * rows
            total += weight * (
                (1 - row_part) * traces.ravel()[start + upper] + row_part * traces.ravel()[start + lower]
            )
        return total.astype(np.float32)


def _between(texture: Plane, positions: Field) -> Plane:
    """Return values of a periodic array between its points along the first axis, by linear interpolation."""
    floor = np.floor(positions)
    part = (positions - floor).astype(np.float32).reshape(-1, *(1,) * (texture.ndim - 1))
    first = floor.astype(np.intp) % len(texture)
    return texture[first] * (1 - part) + texture[(first + 1) % len(texture)] * part


class Wavelet:
    """Reflection of one interface at a signed distance from it, at most 1 in absolute value.

    Args:
        band: band of the survey.
        thickness: standard deviation of the interface, pixels.
    """

    def __init__(self, band: Band, *, thickness: float = 1.2) -> None:
        count, step = 4096, 0.25
        positions = (np.arange(count) - count // 2) * step
        frequency = np.fft.rfftfreq(count, step).astype(np.float64)
        spectrum = (
            band.gain(frequency) * np.exp(-2 * np.pi**2 * (thickness * frequency) ** 2) * band.rotation(frequency)
        )
        # Far side lobes would reach the opposite face.
        values = np.fft.fftshift(np.fft.irfft(spectrum, n=count)) * np.exp(-0.5 * (positions / (0.16 / band.peak)) ** 2)
        self._values = values / np.abs(values).max()
        self._positions = positions

    def __call__(self, below: Field) -> Field:
        """Return the reflection at a distance below the interface, pixels."""
        return np.interp(below, self._positions, self._values)
