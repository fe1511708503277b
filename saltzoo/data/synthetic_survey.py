"""make_survey: a synthetic survey in three dimensions with one salt body, consistent from line to line."""

from __future__ import annotations

import operator
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from .._checks import check_choice
from .survey_fields import Layers, Noise, Wavelet
from .survey_geometry import Bedding, SaltBody
from .synthetic_fields import Band, Field

MIN_SAMPLES = 32


def make_survey(
    shape: tuple[int, int, int] = (64, 64, 128),
    *,
    seed: int = 0,
    polarity: int = 1,
    peak: float | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return a synthetic survey and its salt: a body with rough faces, overhung at times, in layers that it bends.

    Every inline and crossline resembles the tiles of `synthetic_tiles`. For a survey that does not fit into memory,
    draw slabs of a `SyntheticSurvey`. On one core, a survey takes about 1 s to set up and 1 s for each million
    voxels; memory is that of the result, 80 MiB, and 300 bytes for each voxel of an inline.

    Args:
        shape: numbers of inlines, crosslines and samples; 32 samples or more.
        seed: integer from 0. The same arguments give the same survey in every process.
        polarity: 1, or -1 for the same survey with the sign of every amplitude flipped.
        peak: frequency that scales the band, cycles per sample, from 0.005 to 0.1; the strongest frequency is about 3
            times as high. None draws one for the seed, as tiles do, about 0.02. Shapes do not depend on it.

    Returns:
        Amplitudes, float32, whose sediment has a standard deviation of about 1, and mask, bool, True for salt; both
        of the given shape.

    Raises:
        ValueError: if a length is below 1, there are fewer than 32 samples, the seed is negative, the polarity is not
            1 or -1, or the peak is out of range.

    Example:
        >>> amplitudes, mask = make_survey((4, 40, 64), seed=7)
        >>> amplitudes.shape, amplitudes.dtype.name, mask.dtype.name
        ((4, 40, 64), 'float32', 'bool')
    """
    return SyntheticSurvey(shape, seed=seed, polarity=polarity, peak=peak).slab(0, shape[0])


class SyntheticSurvey:
    """A synthetic survey that is drawn slab by slab: the survey of `make_survey` with the same arguments.

    Args:
        shape: numbers of inlines, crosslines and samples.
        seed: integer from 0.
        polarity: 1 or -1.
        peak: frequency that scales the band, cycles per sample; None draws one.

    Raises:
        ValueError: as `make_survey`.

    Example:
        >>> survey = SyntheticSurvey((1000, 40, 64), seed=7)
        >>> amplitudes, mask = survey.slab(500, 502)
        >>> amplitudes.shape
        (2, 40, 64)
    """

    def __init__(
        self, shape: tuple[int, int, int], *, seed: int = 0, polarity: int = 1, peak: float | None = None
    ) -> None:
        _check(shape, seed, polarity, peak)
        self.shape = shape
        self._polarity = polarity
        # Shapes and amplitudes have streams of their own, so that the band does not move the salt.
        shapes, amplitudes = (np.random.default_rng(s) for s in np.random.SeedSequence((seed, 3)).spawn(2))
        self._body = SaltBody.draw(shapes, shape)
        self._bedding = Bedding.draw(shapes, shape)
        self._geometry: OrderedDict[int, tuple[Field, Field, Field]] = OrderedDict()
        band = _draw_band(amplitudes, peak)
        rng = amplitudes
        self._layers = Layers(rng, band, depth=min(max(shape[2], 256), 1024))
        self._wavelet = Wavelet(band)
        self._sharpness = 30 * band.peak
        self._noise_amount = np.clip(rng.lognormal(np.log(0.65), 0.6), 0.1, 2.0)
        self._quiet = np.clip(rng.lognormal(np.log(0.5), 0.3), 0.2, 0.9)
        self._reflection = np.clip(rng.lognormal(np.log(2.8), 0.35), 1.4, 6.0)
        dip = (float(rng.normal(0, 0.8)), float(rng.normal(0, 0.8)))
        steep = (float(rng.normal(0, 1.0)), float(rng.normal(0, 1.0)))
        self._noise = Noise(rng, along=rng.uniform(0.5, 2.5), across=0.5, dip=dip, band=band)
        self._patches = Noise(rng, along=18, across=12)
        self._salt_noise = Noise(rng, along=rng.uniform(1.0, 4.5), across=rng.uniform(0.5, 2), dip=steep, band=band)
        self._boundary_patches = Noise(rng, along=12, across=12)
        self._beads = (rng.uniform(0, 0.6), Noise(rng, along=2.5, across=2.5))

    def slab(self, start: int, stop: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return amplitudes, float32, and mask, bool, of the inlines `start` to `stop - 1`.

        The values are those of the whole survey, to the last bit, whatever the slab.

        Raises:
            ValueError: if the inlines are not in the survey.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            raise ValueError(f"start and stop must be in order in 0..{self.shape[0]}, got {start} and {stop}")
        amplitudes = np.empty((stop - start, *self.shape[1:]), np.float32)
        mask = np.empty(amplitudes.shape, np.bool_)
        for row, inline in enumerate(range(start, stop)):
            amplitudes[row] = self._polarity * self._draw_plane(inline)
            mask[row] = self._shapes(inline)[0] > 0
        self._geometry.clear()
        return amplitudes, mask

    def _shapes(self, inline: int) -> tuple[Field, Field, Field]:
        """Return depth in salt, position across the layers without and with faults, pixels; three planes are kept."""
        if inline not in self._geometry:
            depth, smooth = self._body.depth(inline, self.shape[1:])
            self._geometry[inline] = (depth, *self._bedding.across(inline, smooth))
            if len(self._geometry) > 3:
                self._geometry.popitem(last=False)
        return self._geometry[inline]

    def _draw_plane(self, inline: int) -> Field:
        depths, positions, faulted = zip(*(self._shapes(inline + step) for step in (-1, 0, 1)), strict=True)
        depth = depths[1]
        slope, down = _slope(*depths)
        distance = depth / np.maximum(slope, 0.5)
        normal = down / np.maximum(slope, 1e-6)
        stretch, _ = _slope(*positions)
        plane = depth.shape
        layers = self._layers.plane(inline, faulted[1], stretch)
        patches = np.exp(0.3 * self._patches.plane(inline, plane))
        sediment = layers + self._noise_amount * patches * self._noise.plane(inline, plane)
        sediment = sediment / np.hypot(1, self._noise_amount)
        inside = 1 / (1 + np.exp(np.clip(-distance * self._sharpness, -50, 50)))
        quiet = self._quiet * self._salt_noise.plane(inline, plane)
        return sediment * (1 - inside) + quiet * inside + self._boundary(inline, distance, normal)

    def _boundary(self, inline: int, distance: Field, normal: Field) -> Field:
        """Reflection of the faces of salt, dim where they are upright, (crosslines, samples)."""
        plane = distance.shape
        contrast = normal / np.sqrt(normal**2 + 0.1)
        patches = np.exp(0.35 * self._boundary_patches.plane(inline, plane))
        amount, noise = self._beads
        beads = 1 + amount * noise.plane(inline, plane)
        return self._reflection * contrast * patches * beads * self._wavelet(distance * np.sign(normal))


def _check(shape: tuple[int, int, int], seed: int, polarity: int, peak: float | None) -> None:
    if len(shape) != 3 or min(map(operator.index, shape)) < 1 or shape[2] < MIN_SAMPLES:
        raise ValueError(
            f"shape must be (inlines, crosslines, samples), 1 or more lines and at least {MIN_SAMPLES} samples, "
            f"got {shape}: make a larger survey and cut it"
        )
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    check_choice("polarity", polarity, (1, -1))
    if peak is not None and not 0.005 <= peak <= 0.1:
        raise ValueError(f"peak must be from 0.005 to 0.1 cycles per sample, got {peak}")


def _draw_band(rng: np.random.Generator, peak: float | None) -> Band:
    drawn = float(np.clip(0.019 * np.exp(0.3 * rng.standard_normal()), 0.012, 0.05))
    rise, fall, phase = rng.uniform(1.4, 3.4), rng.uniform(0.6, 1.0), rng.uniform(-1.2, 1.2)
    return Band(drawn if peak is None else peak, rise, fall, phase, blur=0.0)


def _slope(before: Field, here: Field, after: Field) -> tuple[Field, Field]:
    """Return the length of the gradient and its last component, from three neighbouring planes."""
    dx = np.zeros_like(here) if len(here) == 1 else np.asarray(np.gradient(here, axis=0), np.float64)
    dz = np.asarray(np.gradient(here, axis=1), np.float64)
    length: Field = np.sqrt(((after - before) / 2) ** 2 + dx**2 + dz**2)
    return length, dz
