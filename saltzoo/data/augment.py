"""Random augmentation of batches of tiles and their masks, on their own device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .._checks import check_counts, check_finite, check_ignore_index, check_ranges
from .._config import NonNegative, Positive, Probability, check_limits, check_type, keys_of
from .._torch import is_readable, rounding, valid_pixels


@dataclass(frozen=True)
class Augment:
    """Random flip, affine warp and change of brightness and contrast, drawn for each tile of a batch.

    Tile and mask are warped together, in one bilinear interpolation with reflection at the border; the mask is then
    cut at one half. Where pixels of `ignore_index` have a part in a pixel of the mask, it is the nearest pixel instead,
    so a mask keeps its values; so is every pixel of masks of several classes. A tile for which nothing is drawn is
    returned bit for bit, and one for which only the flip is drawn is exactly `images.flip(-1)`. Nothing synchronises
    with a GPU.

    Attributes:
        flip: probability of a left-right flip. Tiles are never flipped up-down, because depth has a direction.
        affine: probability of a warp, which combines scale, shift, shear and, with probability `rotate_p`, rotation.
        x_scale: range (low, high) of the horizontal magnification.
        y_scale: range (low, high) of the vertical magnification.
        shift: largest shift in each direction, pixels; shifts may be fractional.
        shear: largest horizontal shear, pixels per pixel of depth.
        rotate: largest rotation in either direction, degrees.
        rotate_p: probability that a warp rotates.
        photometric: probability of a change of brightness and contrast.
        brightness: largest gray level that is added or subtracted, where white is 1.
        contrast: range (low, high) of the factor of a pixel's difference from the mean of its tile.

    Raises:
        TypeError: if a value is no number, or a range no pair of numbers.
        ValueError: if a probability is not in 0..1, a range is not positive or not in order, or a size is negative or
            infinite.

    Example:
        >>> images, masks = torch.rand(4, 1, 101, 101), torch.rand(4, 101, 101) > 0.5
        >>> images, masks = Augment(rotate=10.0)(images, masks, generator=torch.Generator().manual_seed(0))
        >>> images.shape, masks.dtype
        (torch.Size([4, 1, 101, 101]), torch.bool)
    """

    flip: Probability = 0.5
    affine: Probability = 0.7
    x_scale: tuple[Positive, Positive] = (0.85, 1.15)
    y_scale: tuple[Positive, Positive] = (0.9, 1.1)
    shift: NonNegative = 16.0
    shear: NonNegative = 0.07
    rotate: NonNegative = 7.0
    rotate_p: Probability = 0.25
    photometric: Probability = 0.5
    brightness: NonNegative = 0.1
    contrast: tuple[Positive, Positive] = (0.9, 1.1)

    def __post_init__(self) -> None:
        for name, key in keys_of(Augment).items():
            check_type(key.hint, getattr(self, name), name)
        check_limits(self)
        check_finite(shift=self.shift, shear=self.shear, rotate=self.rotate, brightness=self.brightness)
        check_ranges(x_scale=self.x_scale, y_scale=self.y_scale, contrast=self.contrast)

    def __call__(
        self,
        images: Tensor,
        masks: Tensor,
        *,
        generator: torch.Generator | None = None,
        ignore_index: int | None = None,
        num_classes: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: N C H W or N H W, floating point in 0..1, not yet normalised.
            masks: N H W, bool, or floating point with the values 0, 1 and `ignore_index`, or integers with these values
                if `ignore_index` is given; for several classes integers, 0 to K - 1 and `ignore_index`.
            generator: source of the random numbers, on the device of the images; None for torch's default generator.
                The count of numbers drawn depends on N alone, so two configurations get the same numbers.
            ignore_index: value in the masks of pixels whose label is unknown, as the losses take it; None if every
                pixel is labelled.
            num_classes: number K of classes in the masks; 1 for masks of salt.

        Returns:
            New images and masks with the shapes and dtypes of the given ones. On a GPU, where a check would wait, a
            tile with a value out of range in its image or mask becomes NaN, and so does its loss.

        Raises:
            TypeError: if `ignore_index` is neither an integer nor None.
            ValueError: if a shape, dtype or device does not fit; if `ignore_index` is a class, or cannot occur in the
                masks; on a CPU, if an image is not in 0..1, or a mask holds another value.
        """
        check_batch(images, masks)
        known = _check_values(images, masks, ignore_index, num_classes)
        several = num_classes > 1
        tiles = images if images.ndim == 4 else images.unsqueeze(1)  # N C H W
        # A grid in bfloat16 is off by a tenth of a pixel, so compute in float32 or better.
        dtype = torch.promote_types(images.dtype, torch.float32)
        salt = (masks if several or known is None else masks.masked_fill(~known, 0)).unsqueeze(1)
        unknown = [] if several or known is None else [~known.unsqueeze(1)]
        both = torch.cat([layer.to(dtype) for layer in (tiles, *unknown, salt)], dim=1)  # N C+1 H W or N C+2 H W

        draws = torch.rand(12, len(images), device=images.device, dtype=dtype, generator=generator)
        both = torch.where(_each(draws[0] < self.flip), both.flip(-1), both)
        if self.affine > 0:
            matrix, shift = self._matrix(draws[2:6], draws[6]), (draws[7:9].T * 2 - 1) * self.shift
            warped = warp(both, matrix, shift)
            warped[:, -1:] = (
                warp(both[:, -1:], matrix, shift, mode="nearest") if several else (warped[:, -1:] > 0.5).to(dtype)
            )
            if unknown:
                nearest = warp(both[:, -2:], matrix, shift, mode="nearest")
                warped[:, -2:] = torch.where(warped[:, -2:-1] > 0, nearest, warped[:, -2:])
            both = torch.where(_each(draws[1] < self.affine), warped, both)
        tiles, mask = both[:, : tiles.shape[1]], both[:, -1].to(masks.dtype)  # N C H W, N H W
        if unknown and ignore_index is not None:
            mask = mask.masked_fill(both[:, -2] > 0.5, ignore_index)
        if self.photometric > 0:
            mean = tiles.mean(dim=(1, 2, 3), keepdim=True)
            lit = (tiles - mean) * _each(_between(draws[10], self.contrast)) + mean
            lit = lit + _each(_between(draws[11], (-self.brightness, self.brightness)))
            tiles = torch.where(_each(draws[9] < self.photometric), lit, tiles)
        # Tiles that were only warped need this too: interpolation weights may sum to slightly more than 1.
        tiles = tiles.clamp(0, 1).to(images.dtype)
        if not _can_be_checked(images, masks):
            tiles = tiles.masked_fill(_each(_are_wrong(images, masks, known, num_classes)), torch.nan)
        return tiles.reshape(images.shape), mask

    def _matrix(self, draws: Tensor, rotated: Tensor) -> Tensor:
        """Return the inverse of rotation * shear * scale, N 2 2, from draws of shape 4 N and N."""
        x_scale, y_scale = _between(draws[0], self.x_scale), _between(draws[1], self.y_scale)
        shear = _between(draws[2], (-self.shear, self.shear))
        angle = torch.deg2rad(_between(draws[3], (-self.rotate, self.rotate))) * (rotated < self.rotate_p)
        cos, sin = angle.cos(), angle.sin()
        rows = [
            torch.stack([(cos + shear * sin) / x_scale, (sin - shear * cos) / x_scale], dim=-1),
            torch.stack([-sin / y_scale, cos / y_scale], dim=-1),
        ]
        return torch.stack(rows, dim=1)  # N 2 2


def warp(x: Tensor, matrix: Tensor, shift: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Sample `x` at `matrix @ (pixel - centre - shift) + centre`, with reflection at the edges of the tile.

    Args:
        x: N C H W, floating point, float32 or more.
        matrix: N 2 2, maps (x, y) in the result to (x, y) in `x`, pixels.
        shift: N 2, movement to the right and down, pixels.
        mode: "bilinear" or "nearest".

    Returns:
        N C H W.
    """
    height, width = x.shape[-2:]
    # Not affine_grid: it multiplies matrices, and autocast or TF32 would round positions by a fraction of a pixel.
    # In pixels, a rotation of a tile that is not square stays a rotation.
    right = torch.arange(width, device=x.device, dtype=x.dtype) - (width - 1) / 2 - shift[:, 0, None]  # N W
    down = torch.arange(height, device=x.device, dtype=x.dtype) - (height - 1) / 2 - shift[:, 1, None]  # N H
    right, down = right[:, None, :], down[:, :, None]  # N 1 W, N H 1
    cell = matrix[:, :, :, None, None]  # N 2 2 1 1
    source_x = cell[:, 0, 0] * right + cell[:, 0, 1] * down  # N H W
    source_y = cell[:, 1, 0] * right + cell[:, 1, 1] * down
    # With align_corners=False the tile spans 2 from edge to edge, so a pixel is 2 / width.
    grid = torch.stack([source_x * (2 / width), source_y * (2 / height)], dim=-1)  # N H W 2
    return F.grid_sample(x, grid, mode=mode, padding_mode="reflection", align_corners=False)


def _between(draw: Tensor, limits: tuple[float, float]) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * draw


def _each(value: Tensor) -> Tensor:
    return value[:, None, None, None]  # N 1 1 1


def check_batch(images: Tensor, masks: Tensor) -> None:
    """Raise ValueError if images and masks are no batch of tiles: shapes, dtype of the images and devices."""
    if images.ndim not in (3, 4) or not images.is_floating_point():
        raise ValueError(
            "images must be N C H W or N H W, floating point in 0..1, "
            f"got {tuple(images.shape)} {images.dtype}: divide uint8 tiles by 255"
        )
    expected = (len(images), *images.shape[-2:])
    if masks.shape != expected:
        raise ValueError(f"masks must be N H W like the images, {expected}, got {tuple(masks.shape)}")
    if masks.device != images.device:
        raise ValueError(f"images are on {images.device} but masks on {masks.device}: move them to one device")


def _check_values(images: Tensor, masks: Tensor, ignore_index: int | None, num_classes: int) -> Tensor | None:
    """Return where masks do not hold `ignore_index`, N H W, or None without one."""
    check_ignore_index(ignore_index)
    check_counts(num_classes=num_classes)
    several = num_classes > 1
    if ignore_index in (range(num_classes) if several else (0, 1)):
        classes = f"a class, 0 to {num_classes - 1}" if several else "0 (background) or 1 (salt)"
        raise ValueError(f"ignore_index must not be {classes}, got {ignore_index}: mark unknown pixels by 255")
    if several and (masks.dtype == torch.bool or masks.is_floating_point()):
        raise ValueError(f"masks of {num_classes} classes must be integers, got {masks.dtype}: use masks.long()")
    if not several and ignore_index is None and masks.dtype != torch.bool and not masks.is_floating_point():
        raise ValueError(
            f"masks must be bool, or floating point with the values 0 and 1, got {masks.dtype}: use masks > 0, or pass "
            "ignore_index if a value marks unknown pixels"
        )
    known = None if ignore_index is None else valid_pixels(masks, ignore_index)
    if _can_be_checked(images, masks) and images.numel() and _are_wrong(images, masks, known, num_classes).any():
        low, high = images.aminmax()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"images must be in 0..1, got {low:g} to {high:g}: divide by their full scale, or clip")
        found = ", ".join(f"{value:g}" for value in masks.unique()[:6].tolist())
        also = "" if ignore_index is None else f", or ignore_index={ignore_index}"
        wanted, do = (f"0 to {num_classes - 1}", "") if several else ("0 and 1", "use masks > 0.5, or ")
        raise ValueError(
            f"masks must hold {wanted}{also}, got the values {found}: {do}pass as ignore_index the value of unknown "
            "pixels"
        )
    return known


def _can_be_checked(images: Tensor, masks: Tensor) -> bool:
    return is_readable(images) and is_readable(masks)


def _are_wrong(images: Tensor, masks: Tensor, known: Tensor | None, num_classes: int) -> Tensor:
    """Return which tiles have an image beyond 0..1, or a mask with a value that is neither a class nor ignored, N."""
    each = tuple(range(1, images.ndim))
    low, high = images.amin(each), images.amax(each)
    slack = rounding(images.dtype)
    wrong = ~((low >= -slack) & (high <= 1 + slack))  # NaN fails too
    if masks.dtype == torch.bool:
        return wrong
    other = (masks < 0) | (masks >= num_classes) if num_classes > 1 else (masks != 0) & (masks != 1)
    return wrong | (other if known is None else other & known).flatten(1).any(1)
