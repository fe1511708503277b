"""Base of all accumulators: sums of integers over batches, accumulators and processes."""

from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor


class Accumulator:
    """Sums of integers on the device of the first update, so that the order of batches and processes does not matter.

    A subclass adds the sums of a batch by `_add` in `update`, which never waits for the device. It reads them by
    `_sums` in `compute`, which waits once.

    Args:
        options: options of the metric; only accumulators with the same options merge.
    """

    def __init__(self, **options: object) -> None:
        self._options = options
        self._state: Tensor | None = None  # one axis, int64
        self._whole = False  # whether it holds the sums of all processes

    def merge(self, other: Self) -> Self:
        """Add the sums of another accumulator, which does not change.

        Raises:
            TypeError: if the other is an accumulator of another class.
            ValueError: if its options or its number of classes differ.
        """
        name = type(self).__name__
        if type(other) is not type(self):
            raise TypeError(f"a {name} must merge with another {name}, got a {type(other).__name__}")
        if other._options != self._options:
            raise ValueError(
                f"accumulators must have the same options to merge, got {self._options} and {other._options}: "
                "build both with the same options"
            )
        return self if other._state is None else self._add(other._state)

    def reset(self) -> None:
        """Forget every image."""
        self._state, self._whole = None, False

    def sync(self) -> Self:
        """Add the sums of all processes of torch.distributed. Each process must call this once, before `compute`.

        Every process then holds the total. A process that saw no image must call it too. Without torch.distributed
        nothing happens.

        Raises:
            ValueError: in every process, if processes have counted different numbers of classes; or if it is called
                twice, which would count images several times.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return self
        if self._whole:
            raise ValueError(
                f"{type(self).__name__} holds the sums of all processes already: call reset() before another round"
            )
        # All processes must use the same device. The backend decides, because some processes may have no state.
        device = torch.device("cpu" if "cpu:" in dist.get_backend_config() else "cuda")
        size = 0 if self._state is None else len(self._state)
        # The smallest size above 0 is found as the largest negative one.
        sizes = torch.tensor([size, -size if size else -(2**62)], device=device)
        dist.all_reduce(sizes, dist.ReduceOp.MAX)
        largest, smallest = sizes.tolist()
        self._whole = True
        if largest == 0:
            return self
        if largest != -smallest:
            raise ValueError(
                f"processes must count the same number of classes, got {-smallest} to {largest} sums: give every "
                "process masks of the same form"
            )
        home = device if self._state is None else self._state.device
        state = torch.zeros(largest, dtype=torch.int64) if self._state is None else self._state.clone()
        state = state.to(device)
        dist.all_reduce(state)
        self._state = state.to(home)
        return self

    def _add(self, sums: Tensor) -> Self:
        """Add the sums of a batch, a vector of int64."""
        if self._state is None:
            self._state = sums
            return self
        if self._state.shape != sums.shape:
            raise ValueError(
                f"{type(self).__name__} must be given masks of one number of classes, got {len(sums)} sums after "
                f"{len(self._state)}: use one accumulator for each number, or reset() this one"
            )
        # Out of place: a tensor made under inference_mode cannot be changed outside it.
        self._state = self._state + sums.to(self._state.device)
        return self

    def _sums(self) -> Tensor:
        """Return the sums, on the host.

        Raises:
            ValueError: if nothing was added.
        """
        if self._state is None:
            raise self._nothing_seen()
        return self._state.cpu()

    def _check_seen(self, pixels: Tensor) -> None:
        """Raise ValueError if the numbers of valid pixels are 0, or tell that a label is out of range."""
        if (pixels < 0).any():
            raise ValueError(
                f"labels given to {type(self).__name__} must be 0 to num_classes - 1, got others: raise num_classes, "
                "or leave these pixels out with ignore_index; update(...) of masks on a CPU names the label"
            )
        if not pixels.any():
            raise self._nothing_seen()

    def _nothing_seen(self) -> ValueError:
        name = type(self).__name__
        return ValueError(f"{name} has seen no image with a valid pixel: call update(...) before compute()")
