"""Preprocess: from images in 0..1, and a number for each, to a network's input, and back. Saved with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._checks import check_flags
from ._torch import is_readable, rounding

_PAD_MODES = ("reflect", "replicate", "constant")


@dataclass(frozen=True)
class Preprocess:
    """Normalises and pads images; `unpad` crops maps of the padded size to the image's.

    Attributes:
        mean: mean of each channel, of images in 0..1 and of the scalar if there is one.
        std: standard deviation of each channel.
        multiple: number to a multiple of which H and W are padded, equally on both sides; 1 pads nothing.
        pad_mode: "reflect", "replicate" or "constant" (zero after normalising).
        scalar: whether the last channel is a plane that holds one number for the whole image, such as its depth.
            `assemble` makes it from the numbers; padding repeats it.

    Raises:
        TypeError: if `scalar` is not True or False.
        ValueError: if a value is outside its limits, mean and std differ in length, or a scalar leaves no channel for
            the image.

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
    scalar: bool = False

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
        check_flags(scalar=self.scalar)
        if self.scalar and len(self.mean) < 2:
            raise ValueError(
                f"mean and std of a preprocess with a scalar must hold at least 2 numbers, those of the image and that "
                f"of the scalar, got {self.mean} and {self.std}"
            )

    @property
    def in_chans(self) -> int:
        """Channels of the network's input: one for each mean."""
        return len(self.mean)

    @property
    def image_chans(self) -> int:
        """Channels of the images: those of the input without the scalar's."""
        return self.in_chans - self.scalar

    @classmethod
    def gray(cls, in_chans: int = 1, *, scalar: bool = False) -> Preprocess:
        """Return the statistics of seismic tiles: mean .47, deviation .16, the same for every channel.

        With `scalar`, the last channel has those of the tiles' depths in the TGS Salt challenge: 516 and 228 feet.
        """
        image = in_chans - scalar
        mean, std = ((516.0,), (228.0,)) if scalar else ((), ())
        return cls(mean=(0.47,) * image + mean, std=(0.16,) * image + std, scalar=scalar)

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
        """Return plain values for JSON. Without a scalar it is not named, so that older versions read the values."""
        values = {**asdict(self), "mean": list(self.mean), "std": list(self.std)}
        return values if self.scalar else {key: value for key, value in values.items() if key != "scalar"}

    def assemble(self, images: Tensor, scalars: Tensor | None = None) -> Tensor:
        """Return the channels that a call normalises: gray images repeated, and the scalar as the last plane.

        Args:
            images: N 1 H W or N image_chans H W, floating point, in 0..1.
            scalars: number of each image, N or N 1, in its own unit; None if this preprocess has no scalar.

        Returns:
            N in_chans H W, in the dtype of the images and on their device. It may share memory with the images.

        Raises:
            ValueError: if the shapes do not fit, a scalar is missing, or one is given that is not read.

        Example:
            >>> prepare = Preprocess(mean=(0.5, 300.0), std=(0.25, 200.0), scalar=True)
            >>> x = prepare(prepare.assemble(torch.rand(2, 1, 4, 4), torch.tensor([500.0, 100.0])))
            >>> x.shape, x[:, 1, 0, 0]
            (torch.Size([2, 2, 4, 4]), tensor([ 1., -1.]))
        """
        if images.ndim != 4 or images.shape[1] not in (1, self.image_chans):
            raise ValueError(f"expected images N {self.image_chans} H W, or gray ones N 1 H W, got {_shape(images)}")
        self.check_scalars(scalars, images.shape[0])
        channels = images.expand(-1, self.image_chans, -1, -1)
        if scalars is None:
            return channels
        plane = scalars.to(images).reshape(-1, 1, 1, 1).expand(-1, 1, *images.shape[2:])
        return torch.cat([channels, plane], dim=1)

    def check_scalars(self, scalars: Tensor | None, count: int) -> None:
        """Raise ValueError unless `scalars` holds one number for each of `count` images, or None where none is read."""
        if scalars is None:
            if self.scalar:
                raise ValueError(
                    "this model reads a number for each image, such as its depth, which is missing: give scalars, one "
                    "number for each image"
                )
        elif not self.scalar:
            raise ValueError("this model reads no number besides the image: drop scalars")
        elif scalars.shape not in ((count,), (count, 1)):
            raise ValueError(f"scalars must hold one number for each of {count} image(s), got shape {_shape(scalars)}")

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
                f"expected floating-point images N {len(self.mean)} H W in 0..1, got {_shape(images)} {images.dtype}"
            )
        _check_values(images[:, : self.image_chans])
        return self.normalise(images)

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise and pad a batch N in_chans H W whose values were checked before, as a call does.

        Raises:
            ValueError: if images are too small for padding by reflection.
        """
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
        margins = (left, right, top, bottom)
        if self.scalar and self.pad_mode == "constant":
            image, plane = normalised[:, :-1], normalised[:, -1:]
            return torch.cat([F.pad(image, margins), F.pad(plane, margins, mode="replicate")], dim=1)
        return F.pad(normalised, margins, mode=self.pad_mode)

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


def _shape(images: Tensor) -> tuple[int, ...]:
    return tuple(images.shape)


def _constants(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Return C 1 1, filled on the device: a copy from the host would make a GPU wait in every training step."""
    return torch.stack([like.new_full((1, 1), value) for value in values])
