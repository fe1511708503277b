"""Plan: the settings to measure, as the product of lists of options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, product

from .process import COMMAND, fresh_row
from .report import Row
from .setting import AUTO_BATCH, OURS, Setting


@dataclass(frozen=True)
class Plan:
    """Lists of options, each combination of which is a row, and options that all rows share.

    Attributes:
        models: names of models.
        libraries: whose networks are measured, "saltzoo" and names that the process of a row knows.
        modes: "infer" or "train".
        dtypes: keys of `saltzoo.benchmark.steps.PRECISIONS`.
        layouts: "nchw" or "channels_last".
        compiles: modes of torch.compile, "none" for eager mode.
        batches: sizes of a batch; `(AUTO_BATCH,)` for powers of two until a row fails.
        size: height and width of the images.
        device: "cpu", "cuda" or "cuda:N".
        threads: number of CPU threads.
        fast: whether models are optimised for inference, which leaves training rows out.
        tf32: whether a GPU may compute float32 in TF32.
        warmup: calls before the clock starts, besides the first one of a compiled model.
        repeats: repeats, from which median, lowest and highest come.
        calls: calls in a repeat; 0 for as many as take `seconds`.
        seconds: approximate duration of a repeat.
        timeout_s: limit of seconds for a row, compilation included.
    """

    models: Sequence[str]
    libraries: Sequence[str] = (OURS,)
    modes: Sequence[str] = ("infer",)
    dtypes: Sequence[str] = ("float32",)
    layouts: Sequence[str] = ("nchw",)
    compiles: Sequence[str] = ("none",)
    batches: Sequence[int] = (16,)
    size: int = 101
    device: str = "cpu"
    threads: int = 1
    fast: bool = False
    tf32: bool = False
    warmup: int = 3
    repeats: int = 5
    calls: int = 0
    seconds: float = 0.5
    timeout_s: float = 900

    def settings(self) -> Iterator[Iterator[Setting]]:
        """Yield series of settings that differ by the batch alone; a series is endless for AUTO_BATCH."""
        modes = [mode for mode in self.modes if not (self.fast and mode == "train")]
        lists = (self.models, modes, self.dtypes, self.layouts, self.compiles, self.libraries)
        for model, mode, dtype, layout, how, library in product(*lists):
            for_batch = self._series(model, mode, dtype, layout, how, library)
            yield map(for_batch, (2**power for power in count()) if AUTO_BATCH in self.batches else self.batches)

    def _series(
        self, model: str, mode: str, dtype: str, layout: str, how: str, library: str
    ) -> Callable[[int], Setting]:
        def for_batch(batch: int) -> Setting:
            return Setting(
                model=model,
                library=library,
                mode=mode,
                dtype=dtype,
                layout=layout,
                compile=how,
                fast=self.fast,
                batch=batch,
                size=self.size,
                device=self.device,
                threads=self.threads,
                tf32=self.tf32,
                warmup=self.warmup,
                repeats=self.repeats,
                calls=self.calls,
                seconds=self.seconds,
            )

        return for_batch


def measure_all(plan: Plan, *, command: Sequence[str] = COMMAND) -> Iterator[Row]:
    """Yield every row of a plan, each measured in a fresh process.

    A row that fails, by lack of memory, by a compiler's error or by a crash, has an `error`, and ends its series of
    powers of two.

    Args:
        plan: what to measure.
        command: command that measures a row.
    """
    for series in plan.settings():
        for setting in series:
            row = fresh_row(setting, timeout_s=plan.timeout_s, command=command)
            yield row
            if row["error"] and AUTO_BATCH in plan.batches:
                break
