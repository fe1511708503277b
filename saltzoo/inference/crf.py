"""Dense CRF: probabilities smoothed by mean-field inference in a fully connected conditional random field."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .._torch import rounding

LEVELS = 256
"""Gray levels of an image in the bilateral kernel."""

_SMALLEST = 1e-6
"""Distance that probabilities keep from 0 and 1, so that their logarithms are finite."""

_EXACT = 1e-7
"""Part of the largest eigenvalue of the bilateral kernel's gray levels below which eigenvalues are left out."""


@dataclass(frozen=True)
class Bilateral:
    """Kernel that joins pixels that are near each other and of similar gray.

    Attributes:
        sxy: standard deviation of the distance, in pixels.
        sgray: standard deviation of the difference of gray, of images in 0..1.
        compat: weight of the kernel.
    """

    sxy: float = 20.0
    sgray: float = 0.05
    compat: float = 3.0

    def __post_init__(self) -> None:
        _check_kernel(sxy=self.sxy, sgray=self.sgray, compat=self.compat)


def crf(
    probabilities: Tensor,
    image: Tensor | None = None,
    *,
    iterations: int = 10,
    sxy: float = 3.0,
    compat: float = 3.0,
    bilateral: Bilateral | None = None,
) -> Tensor:
    """Return probabilities after mean-field inference in a dense CRF (Krähenbühl and Koltun 2011, arXiv 1210.5644).

    Every pixel is joined to all others, with penalties for different classes (Potts model) that fall with the distance
    as a Gaussian. As in the authors' code, kernels are normalised symmetrically and a pixel is joined to itself too.
    The Gaussian kernel is separable and computed as two matrix products. The bilateral one is expanded in
    eigenvectors over 256 gray levels, so that it is a sum of separable ones. Nothing is approximated but that.

    It is worth nothing on tiles: of the 618 held-out tiles (fold 0 by id) of the TGS Salt Identification Challenge,
    with the weights unet_efficientnet_lite0_scse_hc.tgs and `tta="hflip"`, the score is .8246 without it, .8223 with
    the defaults, .8248 with `sxy=1`, .8238 with `compat=1`, and .8172 with `compat=1` and `bilateral=Bilateral()`.

    Args:
        probabilities: (H, W) or (N, H, W) of one class, or (N, K, H, W) of K classes that sum to 1; floating point in
            0..1, as `saltzoo.predict` returns them for tensors.
        image: gray images of the same H and W, (H, W) or (N, H, W), uint8, or floating point in 0..1, which is rounded
            to 256 levels. Only the bilateral kernel reads them.
        iterations: number of updates. 0 returns the probabilities.
        sxy: standard deviation of the Gaussian kernel, in pixels.
        compat: weight of the Gaussian kernel.
        bilateral: a second kernel, over distance and gray; None for none.

    Returns:
        Probabilities in the shape, dtype and on the device of the given ones. A side of S pixels needs a matrix of
        S x S.

    Raises:
        TypeError: if the probabilities are not a floating-point tensor, or `iterations` is no whole number.
        ValueError: if a shape, a value or an option is not possible, or the bilateral kernel has no image.

    Example:
        >>> noisy = torch.full((1, 32, 32), 0.9)
        >>> noisy[0, 10, 10] = 0.1  # one pixel against all its neighbours
        >>> crf(noisy)[0, 10, 10].item() > 0.5
        True
    """
    _check_kernel(sxy=sxy, compat=compat)
    _check_probabilities(probabilities, iterations)
    if iterations == 0:
        return probabilities.clone()
    classes = _as_classes(probabilities)  # N K H W
    kernels = [(compat, _Kernel.gaussian(classes, sxy))]
    if bilateral is not None:
        kernels.append((bilateral.compat, _Kernel.bilateral(classes, _levels(image, classes), bilateral)))
    unary = classes.clamp(_SMALLEST, 1 - _SMALLEST).log()
    guess = unary.softmax(1)
    for _ in range(iterations):
        messages = sum((weight * kernel(guess) for weight, kernel in kernels), torch.zeros_like(guess))
        guess = (unary + messages).softmax(1)  # the Potts model: what other classes lose, one's own gains
    result = guess if probabilities.ndim == 4 and probabilities.shape[1] > 1 else guess[:, 1]
    return result.reshape(probabilities.shape).to(probabilities.dtype)


class _Kernel:
    """A symmetrically normalised kernel: sum over r of f_r (Y (f_r x) X), with Gaussians Y and X over rows and columns.

    Args:
        rows: H H.
        columns: W W.
        factors: N R H W.
    """

    def __init__(self, rows: Tensor, columns: Tensor, factors: Tensor) -> None:
        self._rows, self._columns, self._factors = rows, columns, factors
        ones = torch.ones_like(factors[:, :1])  # N 1 H W
        self._scale = self._apply(ones).clamp_min(1e-20).rsqrt()  # N 1 H W

    @classmethod
    def gaussian(cls, like: Tensor, sxy: float) -> _Kernel:
        """Return the kernel over distance, for maps like N K H W."""
        return cls(*_distances(like, sxy), torch.ones_like(like[:, :1]))

    @classmethod
    def bilateral(cls, like: Tensor, levels: Tensor, options: Bilateral) -> _Kernel:
        """Return the kernel over distance and gray, of images N H W of whole levels."""
        steps = torch.arange(LEVELS, device=like.device, dtype=torch.float64) / (LEVELS - 1)
        values, vectors = torch.linalg.eigh(_gaussian(steps, options.sgray))
        kept = values > _EXACT * values.max()
        factors = (vectors[:, kept] * values[kept].sqrt()).to(like.dtype)  # levels R
        return cls(*_distances(like, options.sxy), factors[levels].movedim(-1, 1))

    def __call__(self, maps: Tensor) -> Tensor:
        """N K H W -> N K H W."""
        return self._scale * self._apply(self._scale * maps)

    def _apply(self, maps: Tensor) -> Tensor:
        total = torch.zeros_like(maps)
        for factor in self._factors.split(1, dim=1):  # N 1 H W each
            total = total + factor * (self._rows @ (factor * maps) @ self._columns)
        return total


def _distances(like: Tensor, sxy: float) -> tuple[Tensor, Tensor]:
    """Return the Gaussians over rows, H H, and over columns, W W."""
    sides = (torch.arange(side, device=like.device, dtype=torch.float64) for side in like.shape[-2:])
    rows, columns = (_gaussian(side, sxy).to(like.dtype) for side in sides)
    return rows, columns


def _gaussian(places: Tensor, deviation: float) -> Tensor:
    """P places -> exp(-d^2 / (2 deviation^2)), P P."""
    return (-0.5 * ((places[:, None] - places) / deviation) ** 2).exp()


def _as_classes(probabilities: Tensor) -> Tensor:
    """Return the probabilities of each class, N K H W, float32 or better; of one class, those of none and of it."""
    p = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    if p.ndim == 4 and p.shape[1] > 1:
        return p
    p = p.reshape(-1, 1, *p.shape[-2:])
    return torch.cat([1 - p, p], dim=1)


def _levels(image: Tensor | None, classes: Tensor) -> Tensor:
    """Return gray images as whole levels, N H W."""
    if not isinstance(image, Tensor):
        raise ValueError(f"image must be a tensor of gray images for a bilateral kernel, got {type(image).__name__}")
    count, size = len(classes), classes.shape[-2:]
    if image.ndim not in (2, 3) or image.numel() != count * size.numel() or image.shape[-2:] != size:
        raise ValueError(
            f"image must be gray, (H, W) or (N, H, W), for probabilities of {count} image(s) of {tuple(size)}, got "
            f"{tuple(image.shape)}"
        )
    gray = image.reshape(count, *size).to(classes.device)
    if gray.dtype == torch.uint8:
        return gray.long()
    if not gray.is_floating_point() or not ((gray >= 0) & (gray <= 1 + rounding(gray.dtype))).all():
        raise ValueError(f"image must be uint8, or floating point in 0..1 without NaN, got {image.dtype}")
    return (gray * (LEVELS - 1)).round().long().clamp(max=LEVELS - 1)


def _check_probabilities(probabilities: Tensor, iterations: int) -> None:
    if not isinstance(probabilities, Tensor) or not probabilities.is_floating_point():
        got = probabilities.dtype if isinstance(probabilities, Tensor) else type(probabilities).__name__
        raise TypeError(f"probabilities must be a floating-point tensor, got {got}: use torch.from_numpy")
    if probabilities.ndim not in (2, 3, 4) or 0 in probabilities.shape[1 - probabilities.ndim :]:
        raise ValueError(
            f"probabilities must be (H, W), (N, H, W) or (N, K, H, W), with one or more pixels, got "
            f"{tuple(probabilities.shape)}: give images of one size"
        )
    if not isinstance(iterations, int):
        raise TypeError(f"iterations must be a whole number, got {iterations!r}")
    if iterations < 0:
        raise ValueError(f"iterations must be 0 or more, got {iterations}")
    if not ((probabilities >= 0) & (probabilities <= 1 + rounding(probabilities.dtype))).all():
        raise ValueError("probabilities must be in 0..1 without NaN: take the sigmoid or softmax of logits first")


def _check_kernel(**numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 < number < float("inf"):
            raise ValueError(f"{name} must be a finite number above 0, got {number}")
