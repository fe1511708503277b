"""Augmentation of batches of tiles and their masks, on the device they live on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Range = tuple[float, float]


@dataclass(frozen=True)
class Augment:
    """Random flip, affine warp and change of light, drawn anew for each tile of a batch.

    Tile and mask are warped together, in one bilinear interpolation with reflection at the border; the mask
    is cut at one half once. A tile that draws nothing comes back bit for bit, one that draws only the flip
    is exactly `images.flip(-1)`. Nothing waits for the device.

    Attributes:
        flip: probability of a left-right flip. Never up-down: depth has a direction.
        affine: probability of a warp, which has all of the following five.
        x_scale: range of the horizontal magnification.
        y_scale: range of the vertical magnification.
        shift: largest shift each way, pixels, not only whole ones.
        shear: largest horizontal shear, pixels for each pixel of depth.
        rotate: largest rotation either way, degrees.
        rotate_p: probability of a rotation in a warp.
        photometric: probability of a change of light, which has both of the following.
        brightness: largest gray level added or taken, where white is 1.
        contrast: range of the factor on the distance from the tile's own mean.

    Raises:
        ValueError: if a probability is not in 0..1, a range is empty or not above 0, or a size is negative.

    Example:
        >>> images, masks = torch.rand(4, 1, 101, 101), torch.rand(4, 101, 101) > 0.5
        >>> images, masks = Augment(rotate=10.0)(images, masks, generator=torch.Generator().manual_seed(0))
        >>> images.shape, masks.dtype
        (torch.Size([4, 1, 101, 101]), torch.bool)
    """

    flip: float = 0.5
    affine: float = 0.7
    x_scale: Range = (0.85, 1.15)
    y_scale: Range = (0.9, 1.1)
    shift: float = 16.0
    shear: float = 0.07
    rotate: float = 7.0
    rotate_p: float = 0.25
    photometric: float = 0.5
    brightness: float = 0.1
    contrast: Range = (0.9, 1.1)

    def __post_init__(self) -> None:
        for name in ("flip", "affine", "rotate_p", "photometric"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability in 0..1, got {getattr(self, name)}")
        for name in ("x_scale", "y_scale", "contrast"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} is a range (low, high) with 0 < low <= high, got {(low, high)}")
        for name in ("shift", "shear", "rotate", "brightness"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is the largest size either way, 0 or more, got {getattr(self, name)}")

    def __call__(
        self, images: Tensor, masks: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Augments a batch.

        Args:
            images: N C H W or N H W, floating point in 0..1 (before any normalisation).
            masks: N H W, bool, or floating point with 0 and 1.
            generator: source of the random numbers, on the images' device; None is torch's default one. How
                many are drawn depends on N alone, so two configurations see the same numbers.

        Returns:
            New images and masks with the shapes and dtypes of those given.

        Raises:
            ValueError: if shapes, dtypes or devices are other than said.
        """
        _check(images, masks, generator)
        tiles = images if images.ndim == 4 else images.unsqueeze(1)  # N C H W
        # In bfloat16 a grid is off by a tenth of a pixel, so the work is done in float32 at least.
        dtype = torch.promote_types(images.dtype, torch.float32)
        both = torch.cat([tiles.to(dtype), masks.unsqueeze(1).to(dtype)], dim=1)  # N C+1 H W, the mask last

        draws = torch.rand(12, len(images), device=images.device, dtype=dtype, generator=generator)
        both = torch.where(_each(draws[0] < self.flip), both.flip(-1), both)
        if self.affine > 0:
            warped = warp(both, self._matrix(draws[2:6], draws[6]), (draws[7:9].T * 2 - 1) * self.shift)
            warped[:, -1] = (warped[:, -1] > 0.5).to(dtype)
            both = torch.where(_each(draws[1] < self.affine), warped, both)
        tiles, mask = both[:, :-1], both[:, -1]  # N C H W, N H W
        if self.photometric > 0:
            mean = tiles.mean(dim=(1, 2, 3), keepdim=True)
            lit = (tiles - mean) * _each(_between(draws[10], self.contrast)) + mean
            lit = lit + _each(_between(draws[11], (-self.brightness, self.brightness)))
            tiles = torch.where(_each(draws[9] < self.photometric), lit, tiles)
        # Also for tiles that were only warped: the weights of an interpolation may sum to a little over 1.
        tiles = tiles.clamp(0, 1).to(images.dtype)
        return tiles.reshape(images.shape), mask.to(masks.dtype)

    def _matrix(self, draws: Tensor, rotated: Tensor) -> Tensor:
        """The inverse of rotation * shear * scale, from 4 N and N draws: N 2 2."""
        x_scale, y_scale = _between(draws[0], self.x_scale), _between(draws[1], self.y_scale)
        shear = _between(draws[2], (-self.shear, self.shear))
        angle = torch.deg2rad(_between(draws[3], (-self.rotate, self.rotate))) * (rotated < self.rotate_p)
        cos, sin = angle.cos(), angle.sin()
        rows = [
            torch.stack([(cos + shear * sin) / x_scale, (sin - shear * cos) / x_scale], dim=-1),
            torch.stack([-sin / y_scale, cos / y_scale], dim=-1),
        ]
        return torch.stack(rows, dim=1)  # N 2 2


def warp(x: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """Samples `x` at `matrix @ (pixel - centre - shift) + centre`, bilinear, reflecting at the tile's edges.

    Args:
        x: N C H W, floating point, float32 or more.
        matrix: N 2 2 on (x, y) in pixels: from the place in the result to the place in `x`.
        shift: N 2, how far to move right and down, pixels.

    Returns:
        N C H W.
    """
    height, width = x.shape[-2:]
    # Not affine_grid: it multiplies matrices, which autocast and TF32 may round to a fraction of a pixel.
    # Working in pixels also keeps a rotation a rotation where a tile is not square.
    right = torch.arange(width, device=x.device, dtype=x.dtype) - (width - 1) / 2 - shift[:, 0, None]  # N W
    down = torch.arange(height, device=x.device, dtype=x.dtype) - (height - 1) / 2 - shift[:, 1, None]  # N H
    right, down = right[:, None, :], down[:, :, None]  # N 1 W, N H 1
    cell = matrix[:, :, :, None, None]  # N 2 2 1 1
    source_x = cell[:, 0, 0] * right + cell[:, 0, 1] * down  # N H W
    source_y = cell[:, 1, 0] * right + cell[:, 1, 1] * down
    # Without aligned corners the tile is 2 wide from edge to edge, so a pixel is 2 / width.
    grid = torch.stack([source_x * (2 / width), source_y * (2 / height)], dim=-1)  # N H W 2
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _between(draw: Tensor, limits: Range) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * draw


def _each(value: Tensor) -> Tensor:
    return value[:, None, None, None]  # N 1 1 1


def _check(images: Tensor, masks: Tensor, generator: torch.Generator | None) -> None:
    if images.ndim not in (3, 4) or not images.is_floating_point():
        raise ValueError(
            "images must be N C H W or N H W, floating point in 0..1, "
            f"got {tuple(images.shape)} {images.dtype}: divide uint8 tiles by 255"
        )
    expected = (len(images), *images.shape[-2:])
    if masks.shape != expected:
        raise ValueError(f"masks must be N H W as the images are, {expected}, got {tuple(masks.shape)}")
    if masks.dtype != torch.bool and not masks.is_floating_point():
        raise ValueError(f"masks must be bool, or floating point with 0 and 1, got {masks.dtype}: use masks > 0")
    if masks.device != images.device:
        raise ValueError(f"images are on {images.device} but masks on {masks.device}: move them to one device")
    if generator is not None and generator.device.type != images.device.type:
        raise ValueError(
            f"the generator is on {generator.device} but images on {images.device}: "
            f"make it with torch.Generator({images.device.type!r})"
        )
