"""Preprocess: from images in 0..1 to a network's input, and back. It is saved with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._torch import is_readable, rounding

_PAD_MODES = ("reflect", "replicate", "constant")


@dataclass(frozen=True)
class Preprocess:
    """Normalises and pads images; `unpad` crops maps of the padded size to the image's.

    Attributes:
        mean: mean of each channel, of images in 0..1.
        std: standard deviation of each channel.
        multiple: number to a multiple of which H and W are padded, equally on both sides; 1 pads nothing.
        pad_mode: "reflect", "replicate" or "constant" (zero after normalising).

    Raises:
        ValueError: if a value is outside its limits, or mean and std differ in length.

    Example:
        >>> prepare = Preprocess(mean=(0.5,), std=(0.25,), multiple=32)
        >>> x = prepare(torch.rand(2, 1, 101, 101))
        >>> x.shape, prepare.unpad(x, (101, 101)).shape
        (torch.Size([2, 1, 128, 128]), torch.Size([2, 1, 101, 101]))
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    multiple: int = 1
    pad_mode: str = "reflect"

    def __post_init__(self) -> None:
        finite = all(_is_number(value) and isfinite(value) for value in (*self.mean, *self.std))
        if not finite or len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(
                f"mean and std must hold a finite number for each channel, std above 0, got {self.mean} and {self.std}"
            )
        whole = isinstance(self.multiple, int) and not isinstance(self.multiple, bool)
        if not whole or self.multiple < 1 or self.pad_mode not in _PAD_MODES:
            raise ValueError(
                f"multiple must be a whole number of at least 1 and pad_mode one of {_PAD_MODES}: "
                f"got {self.multiple} and {self.pad_mode!r}"
            )

    @property
    def in_chans(self) -> int:
        """Channels of the images: one for each mean."""
        return len(self.mean)

    @classmethod
    def gray(cls, in_chans: int = 1) -> Preprocess:
        """Return the statistics of seismic tiles (mean .47, deviation .16), the same for every channel."""
        return cls(mean=(0.47,) * in_chans, std=(0.16,) * in_chans)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Return the Preprocess that `to_dict` described.

        Raises:
            ValueError: if the values are not those of a Preprocess.
        """
        try:
            return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a preprocess description: {dict(values)} ({error})") from error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise and pad a batch.

        Args:
            images: N C H W, floating point, in 0..1.

        Returns:
            N C H' W', where H' and W' are multiples of `multiple`.

        Raises:
            ValueError: if the shape or dtype differs; on a CPU, if an image is not in 0..1; if images are too small
                for padding by reflection.
        """
        if images.ndim != 4 or images.shape[1] != len(self.mean) or not images.is_floating_point():
            raise ValueError(
                f"expected floating-point images N {len(self.mean)} H W in 0..1, "
                f"got {tuple(images.shape)} {images.dtype}"
            )
        _check_values(images)
        mean, std = _constants(self.mean, images), _constants(self.std, images)  # C 1 1
        top, bottom, left, right = self._margins(images.shape[-2], images.shape[-1])
        normalised = (images - mean) / std
        if top + bottom + left + right == 0:
            return normalised
        if self.pad_mode == "reflect" and (bottom >= images.shape[-2] or right >= images.shape[-1]):
            raise ValueError(
                f"{images.shape[-2]} x {images.shape[-1]} images are too small to be padded by reflection to a "
                f'multiple of {self.multiple}: use pad_mode="replicate", or a smaller multiple'
            )
        return F.pad(normalised, (left, right, top, bottom), mode=self.pad_mode)

    def unpad(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the part of `maps` (... H' W') that belongs to an image of `size` (H, W): ... H W."""
        top, _, left, _ = self._margins(*size)
        return maps[..., top : top + size[0], left : left + size[1]]

    def _margins(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the padding at the top, bottom, left and right; an odd pixel goes to the bottom and the right."""
        rows, columns = -height % self.multiple, -width % self.multiple
        return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_values(images: Tensor) -> None:
    # On other devices the host would have to wait for the values.
    if not images.numel() or not is_readable(images):
        return
    low, high = (bound.item() for bound in images.detach().aminmax())
    slack = rounding(images.dtype)
    if not (low >= -slack and high <= 1 + slack):  # NaN fails too
        raise ValueError(
            f"images must be in 0..1 without NaN, got {low:g} to {high:g}: divide by their full scale, or clip"
        )


def _constants(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Return C 1 1, filled on the device: a copy from the host would make a GPU wait in every training step."""
    return torch.stack([like.new_full((1, 1), value) for value in values])
