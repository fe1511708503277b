"""Filters along depth: a tile as a sum of cosines, whose amplitudes and phases are changed.

The cosines are those of the discrete cosine transform (type 2). They continue a trace by its mirror image, so the top
and the bottom of a tile leave no jump.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ORDER = 4
"""Order of the Butterworth filters: a cut is 24 dB an octave."""


def waves(size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of depth, `size` frequencies x `size` pixels each; the cosines are orthonormal.

    Frequency k is k / (2 * size) cycles per pixel.

    Example:
        >>> cos, _ = waves(5, torch.device("cpu"), torch.float64)
        >>> torch.allclose(cos @ cos.T, torch.eye(5, dtype=torch.float64))
        True
    """
    number, pixel = torch.arange(size, device=device)[:, None], torch.arange(size, device=device)[None, :]
    # In whole numbers of a quarter period first: large angles have large rounding errors.
    angle = (number * (2 * pixel + 1) % (4 * size)).to(dtype) * (math.pi / (2 * size))
    norm = torch.full((size, 1), math.sqrt(2 / size), device=device, dtype=dtype)
    norm[0] = math.sqrt(1 / size)
    return norm * angle.cos(), norm * angle.sin()


def band_gain(size: int, low_cut: Tensor, high_cut: Tensor) -> Tensor:
    """Return the gain of a Butterworth filter at each frequency, N size.

    Args:
        size: number of frequencies, and of pixels.
        low_cut: N frequencies below which waves fade, cycles per pixel; 0 keeps all.
        high_cut: N frequencies above which waves fade, cycles per pixel.
    """
    frequency = torch.arange(size, device=low_cut.device, dtype=low_cut.dtype) / (2 * size)
    low = (frequency / high_cut[:, None]) ** (2 * ORDER)
    high = (low_cut[:, None] / frequency.clamp(min=1e-6)) ** (2 * ORDER)
    return torch.rsqrt(1 + low) * torch.rsqrt(1 + high)


def to_waves(x: Tensor) -> Tensor:
    """Return the amplitudes of the cosines that each trace is made of, N C K W for K = H frequencies, from N C H W."""
    return waves(x.shape[-2], x.device, x.dtype)[0] @ x


def from_waves(amplitude: Tensor, phase: Tensor, unturned: Tensor | None = None) -> Tensor:
    """Return the traces of given amplitudes, with each wave advanced by a phase.

    Args:
        amplitude: N C K W.
        phase: N, radians. A wave cos(z) becomes cos(z + phase); a quarter of a turn is the Hilbert transform, negated.
        unturned: amplitudes of further waves, N C K W, which are not advanced.

    Returns:
        N C H W.
    """
    cos, sin = waves(amplitude.shape[-2], amplitude.device, amplitude.dtype)
    turn = phase[:, None, None, None]
    even = amplitude * turn.cos()
    return cos.T @ (even if unturned is None else even + unturned) - sin.T @ (amplitude * turn.sin())
