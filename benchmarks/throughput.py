"""Time models of the zoo: images a second, inference and training, as many settings as are asked for.

    python benchmarks/throughput.py --models "unet_resnet34*" --device cuda --batch auto
    python benchmarks/throughput.py --models unet_resnet34_scse --compile none default --dtypes bf16
    python benchmarks/throughput.py --smoke

Each row is measured in a fresh process: nothing compiled, cached or fragmented by one row reaches the next, and a
row that fails, for want of memory or by a compiler's error, becomes a row that says so. The batch lies on the device
before the clock starts. First calls, with what they compile, have a column of their own. On a GPU, events between
the repeats are read after a single synchronisation at the end. Peak memory is what torch's allocator handed out on a
GPU, and the whole process as the system counts it on a CPU, while the repeats ran: what compiling or the first calls
took at their peak and gave back does not count, unless CUDA graphs were recorded, which take their memory then. A
training step is a forward pass, binary cross-entropy, backward and SGD with momentum.

Writes throughput_DEVICE.csv, each line with its conditions, and replaces only the models that it measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count, pairwise, product
from pathlib import Path

import torch
from _measure import (
    DTYPES,
    LAYOUTS,
    MIB,
    Row,
    Run,
    Spread,
    conditions,
    describe,
    inference,
    markdown,
    resident_peak_mib,
    slug,
    synchronize,
    training,
    write_csv,
)

import saltzoo

ROW = "--row"
"""First argument of the process that measures one row."""

MODES = ("infer", "train")
COMPILE = ("none", "default", "reduce-overhead", "max-autotune")
SMOKE = {
    "models": ["unet_resnet18"],
    "dtypes": ["fp32", "bf16"],
    "layouts": ["channels_last"],
    "batch": [2],
    "size": 64,
    "repeats": 2,
    "seconds": 0.1,
    "device": "cpu",
}
MEASURED = ("images_per_s", "images_per_s_min", "images_per_s_max", "ms", "warmup_s", "peak_mib", "calls", "error")
"""Columns of a row besides its setting."""

COLUMNS = (
    "model",
    "mode",
    "dtype",
    "layout",
    "compile",
    "batch",
    "size",
    "images_per_s",
    "warmup_s",
    "peak_mib",
    "error",
)


@dataclass(frozen=True)
class Setting:
    """A row before it is measured."""

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


def main() -> None:
    """Measures row by row, prints their table and writes the file."""
    parser = _parser()
    if parser.parse_args().smoke:
        parser.set_defaults(**SMOKE)
    args = parser.parse_args()
    models = sorted({name for pattern in args.models for name in saltzoo.list_models(pattern)})
    if not models:
        parser.error(f"no model matches {' '.join(args.models)}: there are {', '.join(saltzoo.list_models())}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("this torch sees no GPU: give --device cpu")
    if args.device == "cpu" and "auto" in args.batch:
        parser.error("--batch auto grows until memory runs out, which on a CPU stops the machine: give numbers")

    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    where = conditions(device)
    print(f"{describe(where)}\n\n{markdown([], COLUMNS)}", flush=True)
    # A smoke run says that it works, not how fast: it leaves measured figures alone.
    path = args.out / f"throughput_{'smoke_' if args.smoke else ''}{slug(device)}.csv"
    rows: list[Row] = []
    for row in _measure_all(args, models):
        rows.append(row)
        print(markdown([row], COLUMNS).splitlines()[-1], flush=True)
        write_csv(path, rows, where, replacing="model")  # after each: a run that is cut off leaves what it had
    print(f"\n{path}")
    if args.markdown:
        args.markdown.write_text(f"{markdown(rows, COLUMNS)}\n\n{describe(where)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["unet_resnet34*"], help="shell patterns of saltzoo.list_models")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["fp32", "bf16"], help="by autocast")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--compile", nargs="+", choices=COMPILE, default=["none"], help="modes of torch.compile")
    parser.add_argument(
        "--batch",
        nargs="+",
        type=_batch,
        default=[16],
        help='numbers, or "auto" on a GPU: powers of two until a row fails',
    )
    parser.add_argument("--size", type=int, default=101, help="height and width of the images")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="on the CPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="that a repeat should last, about")
    parser.add_argument("--timeout", type=float, default=900, help="seconds that a row may take, compiling included")
    parser.add_argument("--smoke", action="store_true", help="other defaults: a minute on a CPU, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here too")
    return parser


def _batch(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'give whole numbers of at least 1, or "auto", not {text!r}')
    return int(text)


def _measure_all(args: argparse.Namespace, models: Sequence[str]) -> Iterator[Row]:
    """Every row that the options ask for."""
    for model, mode, dtype, layout, how in product(models, args.modes, args.dtypes, args.layouts, args.compile):
        for batch in _powers_of_two() if "auto" in args.batch else args.batch:
            setting = Setting(
                model=model,
                mode=mode,
                dtype=dtype,
                layout=layout,
                compile=how,
                batch=batch,
                size=args.size,
                device=args.device,
                threads=args.threads,
                repeats=args.repeats,
                seconds=args.seconds,
            )
            row = _in_fresh_process(setting, timeout_s=args.timeout)
            yield row
            if "auto" in args.batch and row["error"]:
                break


def _powers_of_two() -> Iterator[int]:
    return (2**power for power in count())


def _in_fresh_process(setting: Setting, *, timeout_s: float) -> Row:
    """The row of a setting; its `error` says what went wrong, down to a process that was killed."""
    row = asdict(setting) | dict.fromkeys(MEASURED)
    command = [sys.executable, __file__, ROW, json.dumps(asdict(setting))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return row | {"error": f"took longer than {timeout_s:g} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        return row | {"error": f"exit code {done.returncode}: {said[-1]}"}
    # Libraries may print too, but only before: the result is the last line.
    return row | json.loads(done.stdout.splitlines()[-1])


def _here(setting: Setting) -> Row:
    """What a fresh process measures, or the error that it met."""
    try:
        return _measure(setting)
    except Exception as error:  # whatever it is, it belongs in the table
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def _measure(setting: Setting) -> Row:
    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    device = torch.device(setting.device)
    model = saltzoo.create_model(setting.model).to(device)
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
        # CUDA graphs reuse the memory of a step's results once they are told that it is over.
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
    _forget_peak(device, setting.compile)
    seconds = _repeat(run, repeats=setting.repeats, calls=calls, device=device)
    return {
        **Spread.of([setting.batch / value for value in seconds]).cells("images_per_s"),
        "ms": float(f"{Spread.of(seconds).median * 1e3:.4g}"),
        "warmup_s": round(warmup_s, 1),
        "peak_mib": _peak_mib(device),
        "calls": calls,
    }


def _repeat(run: Run, *, repeats: int, calls: int, device: torch.device) -> list[float]:
    """Seconds of a call, once a repeat."""
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


def _forget_peak(device: torch.device, how: str) -> None:
    """Has the system, or the GPU's allocator, count its peak from here on."""
    if device.type != "cuda":
        # Linux takes a 5 for this; without such a file, or where it is closed, the peak is that of the whole process.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    elif how not in ("reduce-overhead", "max-autotune"):  # CUDA graphs: a replay allocates nothing, recording did
        torch.cuda.reset_peak_memory_stats(device)


def _peak_mib(device: torch.device) -> int | None:
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / MIB)
    resident = resident_peak_mib()
    return round(resident) if resident else None


if __name__ == "__main__":
    if sys.argv[1:2] == [ROW]:
        print(json.dumps(_here(Setting(**json.loads(sys.argv[2])))))
    else:
        main()
