"""Time models of the zoo: images per second, for inference and training, in any number of settings.

    python benchmarks/throughput.py --models "unet_resnet34*" --device cuda --batch auto
    python benchmarks/throughput.py --models unet_resnet34_scse --compile none default --dtypes bf16
    python benchmarks/throughput.py --smoke

Each row is measured in a fresh process, so that nothing compiled, cached or fragmented by one row affects the next. A
row that fails, by lack of memory or by a compiler's error, becomes a row with an error. The batch is on the device
before the clock starts. The time of the first calls, including compilation, has its own column. On a GPU, events
between the repeats are read after a single synchronisation at the end. Peak memory is that of torch's allocator on a
GPU, and the resident memory of the process on a CPU, during the repeats. Memory that compilation or the first calls
took and returned does not count, unless CUDA graphs were recorded, which allocate their memory then. A training step
is a forward pass, binary cross-entropy, a backward pass and SGD with momentum.

Writes throughput_DEVICE.csv, each line with its conditions, and replaces only the models that it measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import count, product
from pathlib import Path

import torch

import saltzoo
from saltzoo.benchmark.report import Row, conditions, describe, markdown, slug, write_csv
from saltzoo.benchmark.setting import MEASURED, Setting, measure
from saltzoo.benchmark.steps import DTYPES, LAYOUTS

ROW = "--row"
"""First argument of a process that measures one row."""

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


def main() -> None:
    """Measure row by row, print their table and write the file."""
    parser = _parser()
    if parser.parse_args().smoke:
        parser.set_defaults(**SMOKE)
    args = parser.parse_args()
    models = sorted({name for pattern in args.models for name in saltzoo.list_models(pattern)})
    if not models:
        parser.error(f"no model matches {' '.join(args.models)}: choose among {', '.join(saltzoo.list_models())}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU: use --device cpu")
    if args.device == "cpu" and "auto" in args.batch:
        parser.error("--batch auto grows until memory runs out, which would stop the machine on a CPU: give numbers")

    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    where = conditions(device)
    print(f"{describe(where)}\n\n{markdown([], COLUMNS)}", flush=True)
    # A smoke run is no measurement: it must not replace measured figures.
    path = args.out / f"throughput_{'smoke_' if args.smoke else ''}{slug(device)}.csv"
    rows: list[Row] = []
    for row in _measure_all(args, models):
        rows.append(row)
        print(markdown([row], COLUMNS).splitlines()[-1], flush=True)
        write_csv(path, rows, where, replacing="model")  # after each row, so that an interrupted run keeps its rows
    print(f"\n{path}")
    if args.markdown:
        args.markdown.write_text(f"{markdown(rows, COLUMNS)}\n\n{describe(where)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["unet_resnet34*"], help="shell patterns of saltzoo.list_models")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["fp32", "bf16"], help="dtypes of autocast")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--compile", nargs="+", choices=COMPILE, default=["none"], help="modes of torch.compile")
    parser.add_argument(
        "--batch",
        nargs="+",
        type=_batch,
        default=[16],
        help='batch sizes, or "auto" on a GPU: powers of two until a row fails',
    )
    parser.add_argument("--size", type=int, default=101, help="height and width of the images")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="number of CPU threads")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="approximate duration of a repeat")
    parser.add_argument("--timeout", type=float, default=900, help="limit of seconds for a row, compilation included")
    parser.add_argument("--smoke", action="store_true", help="check that it runs: a minute on a CPU")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="file that gets the table too")
    return parser


def _batch(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'a batch must be a whole number of at least 1, or "auto", got {text!r}')
    return int(text)


def _measure_all(args: argparse.Namespace, models: Sequence[str]) -> Iterator[Row]:
    """Yield every row that the options select."""
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
    """Return the row of a setting; its `error` says what went wrong, even if the process was killed."""
    row = asdict(setting) | dict.fromkeys(MEASURED)
    command = [sys.executable, __file__, ROW, json.dumps(asdict(setting))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return row | {"error": f"took longer than {timeout_s:g} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        return row | {"error": f"exit code {done.returncode}: {said[-1]}"}
    # Libraries may print before it: the result is the last line.
    return row | json.loads(done.stdout.splitlines()[-1])


def _here(setting: Setting) -> Row:
    """Measure a setting in this process; an exception becomes an error in the row."""
    try:
        return measure(setting)
    except Exception as error:  # any failure belongs in the table
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


if __name__ == "__main__":
    if sys.argv[1:2] == [ROW]:
        print(json.dumps(_here(Setting(**json.loads(sys.argv[2])))))
    else:
        main()
