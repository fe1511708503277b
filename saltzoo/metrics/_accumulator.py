"""What every accumulator does alike: it adds up integers, over batches, accumulators and processes."""

from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor


class Accumulator:
    """Sums of integers on the device of the first update: no order of batches or processes changes a digit.

    A subclass adds a batch's sums with `_add` in `update`, which never waits for the device, and reads all of
    them with `_sums` in `compute`, which waits once.

    Args:
        options: what the metric was asked for; accumulators that differ in it do not merge.
    """

    def __init__(self, **options: object) -> None:
        self._options = options
        self._state: Tensor | None = None  # one axis, int64
        self._whole = False  # whether it holds what all processes have seen

    def merge(self, other: Self) -> Self:
        """Add what another accumulator has seen, which stays as it is.

        Raises:
            TypeError: the other is no such accumulator.
            ValueError: its options are others, or it has counted other classes.
        """
        name = type(self).__name__
        if type(other) is not type(self):
            raise TypeError(f"a {name} merges with another {name}, not with a {type(other).__name__}.")
        if other._options != self._options:
            raise ValueError(
                f"this {name} has the options {self._options}, the other {other._options}. "
                "Sums of different things do not add up: build both with the same options."
            )
        return self if other._state is None else self._add(other._state)

    def reset(self) -> None:
        """Forget every image."""
        self._state, self._whole = None, False

    def sync(self) -> Self:
        """Add up the processes of torch.distributed, each of which must call this, once, before `compute`.

        Every process then holds the whole. Without torch.distributed nothing happens. A process that saw no
        image takes part like the others.

        Raises:
            ValueError: processes have counted different classes, and all of them raise; or it is called again, which
                would count every image several times.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return self
        if self._whole:
            raise ValueError(
                f"this {type(self).__name__} holds all processes already. Call reset() before another round."
            )
        # All processes must choose alike, so the backend decides and not the state, which some may not have.
        device = torch.device("cpu" if "cpu:" in dist.get_backend_config() else "cuda")
        size = 0 if self._state is None else len(self._state)
        # The smallest is among those that have seen something; of the negative ones it is the largest.
        sizes = torch.tensor([size, -size if size else -(2**62)], device=device)
        dist.all_reduce(sizes, dist.ReduceOp.MAX)
        largest, smallest = sizes.tolist()
        self._whole = True
        if largest == 0:
            return self
        if largest != -smallest:
            raise ValueError(
                f"processes hold {-smallest} to {largest} sums: they have counted masks of different classes. "
                "Give every process masks of the same form."
            )
        home = device if self._state is None else self._state.device
        state = torch.zeros(largest, dtype=torch.int64) if self._state is None else self._state.clone()
        state = state.to(device)
        dist.all_reduce(state)
        self._state = state.to(home)
        return self

    def _add(self, sums: Tensor) -> Self:
        """Add sums of a batch, int64 on one axis."""
        if self._state is None:
            self._state = sums
            return self
        if self._state.shape != sums.shape:
            raise ValueError(
                f"{type(self).__name__} holds {len(self._state)} sums and is given {len(sums)}: the masks have another "
                "number of classes than those before. Use one accumulator for each, or reset() this one."
            )
        # Out of place: a tensor made under inference_mode refuses to be changed outside of it.
        self._state = self._state + sums.to(self._state.device)
        return self

    def _sums(self) -> Tensor:
        """What was added up, on the host.

        Raises:
            ValueError: nothing was.
        """
        if self._state is None:
            raise self._nothing_seen()
        return self._state.cpu()

    def _nothing_seen(self) -> ValueError:
        name = type(self).__name__
        return ValueError(f"{name} has seen no image with a valid pixel. Call update(...) before compute().")
