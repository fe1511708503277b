"""Measure one setting of a model: images per second and peak memory."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from ..zoo.factory import create_model
from .memory import MIB, resident_peak_mib
from .report import Row
from .steps import LAYOUTS, inference, training
from .timing import Run, Spread, synchronize

MEASURED = ("images_per_s", "images_per_s_min", "images_per_s_max", "ms", "warmup_s", "peak_mib", "calls", "error")
"""Columns of a row besides those of its setting."""


@dataclass(frozen=True)
class Setting:
    """Everything that determines a row: one model, one mode of use, one batch."""

    model: str
    mode: str
    dtype: str
    layout: str
    compile: str
    batch: int
    size: int
    device: str
    threads: int
    repeats: int
    seconds: float


def measure(setting: Setting) -> Row:
    """Build the model of a setting, warm it up, and time it."""
    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    device = torch.device(setting.device)
    model = create_model(setting.model).to(device)
    model.to(memory_format=LAYOUTS[setting.layout])
    shape = (setting.batch, 1, setting.size, setting.size)
    images = torch.randn(shape).to(device, memory_format=LAYOUTS[setting.layout])
    masks = (torch.rand(shape) < 0.3).float().to(device)
    if setting.compile != "none":
        model.compile(mode=setting.compile)
    if setting.mode == "infer":
        step: Run = inference(model, images, setting.dtype)
    else:
        step = training(model, images, masks, setting.dtype)

    def run() -> None:
        # CUDA graphs may reuse the memory of the last step's results only after this call.
        torch.compiler.cudagraph_mark_step_begin()
        step()

    start = time.perf_counter()
    for _ in range(3):  # compiles, picks kernels, records graphs
        run()
    synchronize(device)
    warmup_s = time.perf_counter() - start
    start = time.perf_counter()
    run()
    synchronize(device)
    calls = max(1, round(setting.seconds / (time.perf_counter() - start)))
    forget_peak(device, setting.compile)
    seconds = _repeat(run, repeats=setting.repeats, calls=calls, device=device)
    return {
        **Spread.of([setting.batch / value for value in seconds]).cells("images_per_s"),
        "ms": float(f"{Spread.of(seconds).median * 1e3:.4g}"),
        "warmup_s": round(warmup_s, 1),
        "peak_mib": _peak_mib(device),
        "calls": calls,
    }


def _repeat(run: Run, *, repeats: int, calls: int, device: torch.device) -> list[float]:
    """Return the seconds of one call, once per repeat."""
    if device.type != "cuda":
        marks = [time.perf_counter()]
        for _ in range(repeats):
            for _ in range(calls):
                run()
            marks.append(time.perf_counter())
        return [(after - before) / calls for before, after in pairwise(marks)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        for _ in range(calls):
            run()
        event.record()
    torch.cuda.synchronize(device)
    return [before.elapsed_time(after) / 1e3 / calls for before, after in pairwise(events)]


def forget_peak(device: torch.device, how: str) -> None:
    """Reset the peak memory of the process, or of the GPU's allocator."""
    if device.type != "cuda":
        # Writing 5 resets the peak on Linux. Without this file the peak is that of the whole process.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    elif how not in (
        "reduce-overhead",
        "max-autotune",
    ):  # CUDA graphs allocate when they are recorded, not when they are replayed
        torch.cuda.reset_peak_memory_stats(device)


def _peak_mib(device: torch.device) -> int | None:
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / MIB)
    resident = resident_peak_mib()
    return round(resident) if resident else None
