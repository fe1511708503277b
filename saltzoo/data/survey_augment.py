"""Random changes that make a tile look like one of another survey."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from .._checks import check_finite, check_ranges
from .._config import NonNegative, Positive, Probability, Range, check_limits, check_type, keys_of
from .._torch import autocast_off, is_readable, rounding
from .augment import check_batch
from .depth_waves import band_gain, from_waves, to_waves
from .rescale import interpolation_matrix, nearest_pixel, source_positions

Scale = Annotated[float, Range(0.5)]
Frequency = Annotated[float, Range(0, 0.5)]
LARGEST_GAIN = 4.0
"""Largest factor by which a filtered tile is amplified to its former deviation."""


@dataclass(frozen=True)
class SurveyAugment:
    """Random scale, band, phase, noise, gain, polarity and contrast, drawn for each tile of a batch.

    Surveys differ in these: sample interval and distance of traces, wavelet, processing and display. Amplitudes are
    measured from the mean of the tile. Changes follow each other in the order of their probabilities below. A tile for
    which nothing is drawn is returned bit for bit; masks follow the scale alone. Nothing synchronises with a GPU. Give
    the result to `Augment`, which flips, shifts and turns.

    Attributes:
        rescale: probability of another scale. Where the rescaled tile is smaller, reflection fills the rest.
        x_scale: range (low, high) of the horizontal magnification, 0.5 or more.
        y_scale: range (low, high) of the vertical magnification, 0.5 or more.
        band: probability of a band-pass along depth; the tile keeps its standard deviation.
        low_cut: range (low, high) of the frequency below which waves fade, cycles per pixel.
        high_cut: range (low, high) of the frequency above which waves fade, cycles per pixel, at most 0.5.
        phase: probability of a constant phase rotation of the waves along depth.
        turn: largest phase in either direction, degrees.
        noise: probability of added noise, which is limited to a band along depth as signals are.
        noise_level: range (low, high) of the noise's standard deviation, in those of the tile.
        gain: probability of another gain.
        level: range (low, high) of the gain in the middle of the tile.
        drift: largest ratio of the gains at the top and the bottom, or at the bottom and the top.
        polarity: probability that black and white are exchanged.
        stretch: probability of another contrast: the mean becomes middle gray.
        white: range (low, high) of the amplitude that becomes white, in standard deviations of the tile.

    Raises:
        TypeError: if a value is no number, or a range no pair of numbers.
        ValueError: if a value is out of its limits, or a range is not in order.

    Example:
        >>> images, masks = torch.rand(4, 1, 101, 101), torch.rand(4, 101, 101) > 0.5
        >>> images, masks = SurveyAugment(polarity=1.0)(images, masks, generator=torch.Generator().manual_seed(0))
        >>> images.shape, masks.dtype
        (torch.Size([4, 1, 101, 101]), torch.bool)
    """

    rescale: Probability = 0.5
    x_scale: tuple[Scale, Scale] = (0.5, 2.0)
    y_scale: tuple[Scale, Scale] = (0.5, 2.0)
    band: Probability = 0.3
    low_cut: tuple[Frequency, Frequency] = (0.0, 0.03)
    high_cut: tuple[Positive, Positive] = (0.08, 0.4)
    phase: Probability = 0.3
    turn: NonNegative = 90.0
    noise: Probability = 0.3
    noise_level: tuple[NonNegative, NonNegative] = (0.0, 0.5)
    gain: Probability = 0.3
    level: tuple[Positive, Positive] = (0.5, 2.0)
    drift: Annotated[float, Range(1)] = 3.0
    polarity: Probability = 0.3
    stretch: Probability = 0.3
    white: tuple[Positive, Positive] = (1.5, 5.0)

    def __post_init__(self) -> None:
        for name, key in keys_of(SurveyAugment).items():
            check_type(key.hint, getattr(self, name), name)
        check_limits(self)
        pairs = ("x_scale", "y_scale", "low_cut", "high_cut", "noise_level", "level", "white")
        check_ranges(**{name: getattr(self, name) for name in pairs})
        check_finite(turn=self.turn, drift=self.drift)
        if self.low_cut[1] >= self.high_cut[0] or self.high_cut[1] > 0.5:
            raise ValueError(
                f"low_cut must end below high_cut, which ends at 0.5 or below, got {self.low_cut} and {self.high_cut}: "
                f"no wave would pass a band whose cuts are the other way round"
            )

    def __call__(
        self, images: Tensor, masks: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Change a batch.

        Args:
            images: N C H W or N H W, floating point in 0..1, not yet normalised.
            masks: N H W. Masks of bool are interpolated and cut at one half; in others, which may hold labels and the
                value of unknown pixels, each pixel is the nearest one.
            generator: source of the random numbers, on the device of the images; None for torch's default generator.

        Returns:
            New images and masks with the shapes and dtypes of the given ones. On a GPU, where a check would wait, a
            tile with a value out of range becomes NaN, and so does its loss.

        Raises:
            ValueError: if a shape, dtype or device does not fit; on a CPU, if an image is not in 0..1.
        """
        check_batch(images, masks)
        wrong = _are_beyond(images)
        if is_readable(images) and wrong.any():
            low, high = images.aminmax()
            raise ValueError(f"images must be in 0..1, got {low:g} to {high:g}: divide by their full scale, or clip")
        dtype = torch.promote_types(images.dtype, torch.float32)
        tiles = (images if images.ndim == 4 else images.unsqueeze(1)).to(dtype)  # N C H W
        draws = torch.rand(18, len(images), device=images.device, dtype=dtype, generator=generator)
        with autocast_off(images):
            if self.rescale > 0:
                tiles, masks = self._rescaled(tiles, masks, draws[:5])
            if self.band > 0 or self.phase > 0 or self.noise > 0:
                tiles = self._filtered(tiles, draws[5:12], generator)
            tiles = self._displayed(tiles, draws[12:])
        if not is_readable(images):
            tiles = tiles.masked_fill(_each(wrong), torch.nan)
        return tiles.clamp(0, 1).to(images.dtype).reshape(images.shape), masks

    def _rescaled(self, tiles: Tensor, masks: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Return tiles and masks at another scale, from draws of shape 5 N."""
        drawn = draws[0] < self.rescale
        x_scale, y_scale = _log_between(draws[1], self.x_scale), _log_between(draws[2], self.y_scale)
        across = source_positions(tiles.shape[-1], x_scale, draws[3] * 2 - 1)  # N W
        down = source_positions(tiles.shape[-2], y_scale, draws[4] * 2 - 1)  # N H
        left = interpolation_matrix(down, y_scale)[:, None]  # N 1 H H
        right = interpolation_matrix(across, x_scale)[:, None].mT  # N 1 W W
        if masks.dtype == torch.bool:
            moved = (left @ masks[:, None].to(tiles.dtype) @ right)[:, 0] > 0.5
        else:
            rows, columns = nearest_pixel(down), nearest_pixel(across)
            number = torch.arange(len(masks), device=masks.device)
            moved = masks[number[:, None, None], rows[:, :, None], columns[:, None, :]]
        tiles = torch.where(_each(drawn), left @ tiles @ right, tiles)
        return tiles, torch.where(drawn[:, None, None], moved, masks)

    def _filtered(self, tiles: Tensor, draws: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return tiles with another band, phase and noise, from draws of shape 7 N and the generator."""
        band, phase, noisy = draws[0] < self.band, draws[1] < self.phase, draws[2] < self.noise
        mean, deviation = _statistics(tiles)
        cuts = _between(draws[3], self.low_cut), _between(draws[4], self.high_cut)
        gain = band_gain(tiles.shape[-2], *cuts)[:, None, :, None]  # N 1 K 1
        angle = torch.where(phase, torch.deg2rad(_between(draws[5], (-self.turn, self.turn))), 0)
        amplitude = to_waves(tiles - mean)  # N C K W
        # The cosines are orthonormal: amplitudes have the deviation of the tile.
        passed = amplitude * gain
        lost = passed.square().mean((1, 2, 3), keepdim=True).sqrt()
        passed = passed * (deviation / lost.clamp(min=1e-6)).clamp(max=LARGEST_GAIN)
        amplitude = torch.where(_each(band), passed, amplitude)
        added = None
        if self.noise > 0:
            white = torch.randn(tiles.shape, device=tiles.device, dtype=tiles.dtype, generator=generator)
            level = deviation * _each(_between(draws[6], self.noise_level) * noisy)
            added = white * (level * gain / gain.square().mean(2, keepdim=True).sqrt())
        x = from_waves(amplitude, angle, added)
        return torch.where(_each(band | phase | noisy), x + mean, tiles)

    def _displayed(self, tiles: Tensor, draws: Tensor) -> Tensor:
        """Return tiles with another gain, polarity and contrast, from draws of shape 6 N."""
        if self.gain > 0:
            mean, _ = _statistics(tiles)
            depth = torch.linspace(-0.5, 0.5, tiles.shape[-2], device=tiles.device, dtype=tiles.dtype)
            slope = math.log(self.drift) * _between(draws[2], (-1, 1))
            gain = _log_between(draws[1], self.level)[:, None] * torch.exp(slope[:, None] * depth)  # N H
            louder = (tiles - mean) * gain[:, None, :, None] + mean
            tiles = torch.where(_each(draws[0] < self.gain), louder, tiles)
        if self.polarity > 0:
            tiles = torch.where(_each(draws[3] < self.polarity), 1 - tiles, tiles)
        if self.stretch > 0:
            mean, deviation = _statistics(tiles)
            white = _each(_between(draws[5], self.white)) * deviation.clamp(min=1e-6)
            stretched = (tiles - mean) / (2 * white) + 0.5
            drawn = _each(draws[4] < self.stretch) & (deviation > 1e-3)  # a flat tile has no contrast
            tiles = torch.where(drawn, stretched, tiles)
        return tiles


def _statistics(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each tile, N 1 1 1 each."""
    variance, mean = torch.var_mean(tiles, dim=(1, 2, 3), correction=0, keepdim=True)
    return mean, variance.sqrt()


def _between(draw: Tensor, limits: tuple[float, float]) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * draw


def _log_between(draw: Tensor, limits: tuple[float, float]) -> Tensor:
    return torch.exp(_between(draw, (math.log(limits[0]), math.log(limits[1]))))


def _each(value: Tensor) -> Tensor:
    return value[:, None, None, None]  # N 1 1 1


def _are_beyond(images: Tensor) -> Tensor:
    """Return which tiles have a value that is not in 0..1, N."""
    low, high = images.flatten(1).aminmax(dim=1)
    slack = rounding(images.dtype)
    return ~((low >= -slack) & (high <= 1 + slack))  # NaN is beyond too
