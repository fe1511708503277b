"""Shapes in a synthetic survey: a salt body with rough faces, and the layers that it bends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .survey_fields import Noise
from .synthetic_fields import Field

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class SaltBody:
    """Bulb of salt on a leaning stem, which it overhangs. Positions and lengths in voxels, in the order of the axes.

    Attributes:
        centre: centre of the bulb.
        radii: half axes of the bulb.
        stem: half axes of the stem, inline and crossline; None for a bulb that lost its stem.
        lean: shift of the stem for each sample below the centre, inline and crossline.
        rounding: radius to which the edge between bulb and stem is rounded.
        waves: bends of the faces: amplitude, phase and wave numbers along the axes, one row each.
        roughness: fields and their amplitudes that are added to the distance.
    """

    centre: Field
    radii: Field
    stem: Field | None
    lean: Field
    rounding: float
    waves: Field
    roughness: tuple[tuple[float, Noise], ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, shape: Shape) -> SaltBody:
        """Draw a body for a survey of this shape."""
        extent = np.array(shape, np.float64)
        centre = extent * [*rng.uniform(0.4, 0.6, 2), rng.uniform(0.38, 0.55)]
        radii = extent * [*rng.uniform(0.26, 0.42, 2), rng.uniform(0.16, 0.25)]
        stem = radii[:2] * rng.uniform(0.5, 0.8) if rng.random() < 0.75 else None
        thinnest = float(min(radii.min(), np.inf if stem is None else stem.min()))
        waves = [
            [0.05 * thinnest * rng.standard_normal(), rng.uniform(0, 2 * np.pi), *rng.normal(0, 2.5, 3) / radii]
            for _ in range(5)
        ]
        roughness = (
            (
                min(rng.gamma(1.5, 1.3), 4.0, 0.12 * thinnest),
                Noise(rng, along=(scale := rng.uniform(7, 14)), across=scale),
            ),
            (
                min(rng.gamma(1.0, 0.4), 0.8, 0.05 * thinnest),
                Noise(rng, along=(fine := rng.uniform(1.5, 3)), across=fine),
            ),
        )
        lean = rng.normal(0, 0.25, 2)
        return cls(centre, radii, stem, lean, rng.uniform(2.0, 7.0), np.array(waves), roughness)

    def depth(self, inline: int, shape: tuple[int, int]) -> tuple[Field, Field]:
        """Return the approximate distance to the boundary, positive inside, for one inline, (crosslines, samples).

        The first field has rough faces, the second smooth ones.
        """
        i = inline - self.centre[0]
        x = np.arange(shape[0])[:, None] - self.centre[1]
        z = np.arange(shape[1])[None, :] - self.centre[2]
        depth = _in_ellipsoid((i, x, z), self.radii)
        if self.stem is not None:
            i_lean, x_lean = i - self.lean[0] * z, x - self.lean[1] * z
            radius = np.sqrt((i_lean / self.stem[0]) ** 2 + (x_lean / self.stem[1]) ** 2)
            stem = np.minimum((1 - radius) * self.stem.min(), z + 0.5 * self.radii[2])
            # The smooth maximum rounds the edge between bulb and stem.
            depth = self.rounding * np.logaddexp(depth / self.rounding, stem / self.rounding)
        for amplitude, phase, ki, kx, kz in self.waves:
            depth = depth + amplitude * np.sin(phase + ki * i + kx * x + kz * z)
        rough = depth + sum(amplitude * noise.plane(inline, shape) for amplitude, noise in self.roughness)
        return rough, depth


def _in_ellipsoid(position: tuple[float, Field, Field], radii: Field) -> Field:
    scaled = sum((p / r) ** 2 for p, r in zip(position, radii, strict=True))
    steep = sum((p / r**2) ** 2 for p, r in zip(position, radii, strict=True))
    radius = np.sqrt(np.maximum(scaled, 1e-6))
    return radius * (1 - radius) / np.sqrt(np.maximum(steep, 1e-6 / radii.min() ** 2))


@dataclass(frozen=True)
class Bedding:
    """Position across the layers: dipping, folded, faulted, and bent by salt.

    Attributes:
        dip: slopes, samples per inline and per crossline.
        folds: centre and widths along both lines, uplift and its growth with depth; one row each.
        faults: normal along the axes, offset and throw; one row each.
        drag: uplift beside the salt, pixels.
        reach: distance from the salt at which the drag falls to 1 / e, pixels.
        wobble: small bends and their amplitude.
    """

    dip: Field
    folds: Field
    faults: Field
    drag: float
    reach: float
    wobble: tuple[float, Noise]

    @classmethod
    def draw(cls, rng: np.random.Generator, shape: Shape) -> Bedding:
        """Draw the bedding of a survey of this shape."""
        lines = np.array(shape[:2], np.float64)
        dip = rng.normal(0, 0.25, 2)
        folds = [
            [*rng.uniform(0, lines), *rng.uniform(12, 45, 2), rng.normal(0, 15), rng.random()]
            for _ in range(1 + rng.poisson(3 * lines.prod() / 150**2))
        ]
        faults = [_draw_fault(rng, shape) for _ in range(min(rng.poisson(0.5 + lines.max() / 200), 8))]
        drag = rng.choice([-1, 1], p=[0.2, 0.8]) * rng.uniform(5, 30)
        wobble = (rng.gamma(1.2, 0.7), Noise(rng, along=rng.uniform(4, 10), across=6))
        return cls(
            dip, np.array(folds), np.array(faults).reshape(-1, 5), drag, max(abs(drag), rng.uniform(10, 40)), wobble
        )

    def across(self, inline: int, depth: Field) -> tuple[Field, Field]:
        """Return the position across the layers for one inline, (crosslines, samples), without and with faults.

        Args:
            inline: number of the inline.
            depth: depth in the smooth salt body, (crosslines, samples).
        """
        crosslines, samples = depth.shape
        x = np.arange(crosslines)[:, None]
        z = np.arange(samples)[None, :]
        across = z - self.dip[0] * inline - self.dip[1] * x
        for centre_i, centre_x, width_i, width_x, uplift, growth in self.folds:
            bell = np.exp(-0.5 * (((inline - centre_i) / width_i) ** 2 + ((x - centre_x) / width_x) ** 2))
            across = across + uplift * bell * (0.5 + growth * z / samples)
        across = across + self.drag * np.exp(np.minimum(depth, 0) / self.reach)
        amplitude, noise = self.wobble
        across = across + amplitude * noise.plane(inline, depth.shape)
        faulted = across
        for normal_i, normal_x, normal_z, offset, throw in self.faults:
            side = normal_i * inline + normal_x * x + normal_z * z - offset
            faulted = faulted + throw / (1 + np.exp(np.clip(-side / 0.7, -50, 50)))
        return across, faulted


def _draw_fault(rng: np.random.Generator, shape: Shape) -> list[float]:
    """Normal, offset and throw of a steep plane through a point of the survey."""
    azimuth = rng.uniform(0, 2 * np.pi)
    steep = np.radians(rng.uniform(60, 85))
    normal = np.array([np.sin(steep) * np.cos(azimuth), np.sin(steep) * np.sin(azimuth), np.cos(steep)])
    offset = normal @ (rng.uniform(0.1, 0.9, 3) * shape)
    return [*normal, float(offset), rng.uniform(3, 14) * rng.choice([-1, 1])]
