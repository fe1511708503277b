"""Building blocks of a synthetic seismic tile: smooth noise, warped textures, the frequency band of a survey.

Fields are float64 arrays of shape H W, in units of pixels and of cycles per pixel. Filters are products in the Fourier
domain, so every field is periodic: draw it larger than the tile and crop it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Field = npt.NDArray[np.float64]


def frequencies(shape: tuple[int, int]) -> tuple[Field, Field]:
    """Return the vertical (H 1) and horizontal (1 W//2+1) frequencies of `np.fft.rfft2`, cycles per pixel."""
    height, width = shape
    vertical, horizontal = np.fft.fftfreq(height), np.fft.rfftfreq(width)
    return vertical[:, None].astype(np.float64), horizontal[None, :].astype(np.float64)


def filtered(field: Field, response: Field | npt.NDArray[np.complex128]) -> Field:
    """Return a field whose spectrum is multiplied by a response, H W//2+1.

    torch's transform is used, which is three times as fast as numpy's.
    """
    spectrum = torch.fft.rfft2(torch.from_numpy(field)) * torch.from_numpy(response)
    result: Field = torch.fft.irfft2(spectrum, s=field.shape).numpy()
    return result


def unit_deviation(field: Field) -> Field:
    """Return the field scaled to mean 0 and standard deviation 1, or zeros for a constant field."""
    centred = field - field.mean()
    return centred / max(float(centred.std()), 1e-12)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], *, along: float, across: float, dip: float = 0.0
) -> Field:
    """Return Gaussian noise of unit standard deviation, blurred along a dip.

    Args:
        rng: source of the white noise.
        shape: H, W.
        along: standard deviation of the blur along the dip, pixels.
        across: standard deviation of the blur across the dip, pixels.
        dip: angle of the blur from the horizontal, radians, positive downwards to the right.
    """
    fz, fx = frequencies(shape)
    f_along = fx * np.cos(dip) + fz * np.sin(dip)
    f_across = fz * np.cos(dip) - fx * np.sin(dip)
    smear = np.exp(-2 * np.pi**2 * ((along * f_along) ** 2 + (across * f_across) ** 2))
    white = rng.standard_normal(shape)
    return unit_deviation(filtered(white, smear))


def smooth_line(rng: np.random.Generator, position: Field, *, scale: float) -> Field:
    """Return smooth noise along one coordinate, of unit standard deviation and `scale` pixels correlation length."""
    low, high = float(position.min()), float(position.max())
    knots = np.arange(low - scale, high + 2 * scale, scale / 4)
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 4) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    values = np.convolve(rng.standard_normal(len(knots) + len(kernel) - 1), kernel, mode="valid")
    return np.interp(position, knots, values)


def sample(texture: Field, rows: Field, columns: Field) -> Field:
    """Return values of a periodic texture between its pixels, by bilinear interpolation.

    Args:
        texture: h w.
        rows: H W, row in the texture of each pixel.
        columns: H W, column in the texture of each pixel.
    """
    height, width = texture.shape
    row_floor, column_floor = np.floor(rows), np.floor(columns)
    row_part, column_part = rows - row_floor, columns - column_floor
    top, left = row_floor.astype(np.intp) % height, column_floor.astype(np.intp) % width
    bottom, right = (top + 1) % height, (left + 1) % width
    upper = texture[top, left] * (1 - column_part) + texture[top, right] * column_part
    lower = texture[bottom, left] * (1 - column_part) + texture[bottom, right] * column_part
    return upper * (1 - row_part) + lower * row_part


@dataclass(frozen=True)
class Band:
    """Frequency response of the survey and its processing: gain (f / peak)^rise exp(-fall f / peak), then a phase.

    Attributes:
        peak: frequency that scales the band, cycles per pixel.
        rise: steepness of the low cut.
        fall: steepness of the high cut.
        phase: rotation of the wavelet, radians.
        blur: standard deviation of the lateral blur, pixels.
    """

    peak: float
    rise: float
    fall: float
    phase: float
    blur: float

    def __call__(self, field: Field) -> Field:
        """Return the field limited to this band, H W."""
        fz, fx = frequencies((field.shape[0], field.shape[1]))
        gain = self.gain(np.hypot(fz, fx))
        gain = gain * np.exp(-2 * np.pi**2 * (self.blur * fx) ** 2)
        return filtered(field, gain * self.rotation(fz))

    def gain(self, frequency: Field) -> Field:
        """Return the gain at radial frequencies, cycles per pixel."""
        relative = frequency / self.peak
        return relative**self.rise * np.exp(-self.fall * relative)

    def rotation(self, vertical: Field) -> npt.NDArray[np.complex128]:
        """Return the factors that rotate the wavelet, at vertical frequencies, cycles per pixel."""
        # Odd in the vertical frequency, so that the result is real, and smooth near 0, where layers stand upright.
        return np.exp(1j * self.phase * np.tanh(vertical / (0.1 * self.peak)))
