"""Write docs/results/performance.md and its pictures from benchmarks/results: `python docs/make_performance.py`.

`--check` only checks the page. Drawing needs matplotlib. Numbers are those that a benchmark wrote.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from _page import Row, fill, table, write_or_check
from _performance_pictures import PHASES, draw_choice, draw_phases

PAGE = Path(__file__).parent / "results" / "performance.md"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
STEP_OPERATORS = 5
"""Operators of a step in the table."""

Line = dict[str, str]


def page() -> str:
    """Return the whole page."""
    throughput, runtimes, int8, steps, loop = (
        _read(f"{name}.csv") for name in ("throughput_cpu", "runtimes_smp_cpu", "int8_cpu", "profile_cpu", "loop_cpu")
    )
    return fill(
        "performance.md",
        {
            "models": table(
                ("model", "images/s", "share of the floor", "GFLOP per image", "parameters", "peak MiB"),
                [_model_row(line) for line in eager(throughput)],
                right=(1, 2, 3, 4, 5),
            ),
            "runtimes": table(
                ("", "images/s", "times as fast", "difference", "of"),
                [
                    (
                        line["contender"],
                        _short(line["images_s"]),
                        _ratio(line),
                        _short(line["difference"]),
                        _short(line["scale"]),
                    )
                    for line in runtimes
                ],
                right=(1, 3, 4),
            ),
            "int8": table(
                ("weights", "", "score", "loss", "times as fast", "file, MiB"), list(_int8(int8)), right=(2, 3, 5)
            ),
            "calibration": int8[0]["calibration"],
            "batch": steps[0]["batch"],
            "phases": table(
                ("", "dtype", "ms", *PHASES, "floor", "peak MiB"), list(_phases(steps)), right=range(2, 10)
            ),
            "against": _against(steps, "ms"),
            "memory": _against(steps, "peak_mib"),
            "loop": table(
                ("model", "", "dtype", "tiles/s", "of a bare step"),
                [_loop_row(line) for line in loop],
                right=(3,),
            ),
            "operators": table(("", "dtype", "operators, with their share of the step"), list(_operators(steps))),
            "floor": table(
                ("model", "", "GFLOP/s of a matrix product", "share of the floor"),
                list(_floor(throughput)),
                right=(2, 3),
            ),
            "conditions": "\n".join(
                f"- {what}: {text}"
                for what, lines in (
                    ("models", throughput),
                    ("runtimes", runtimes),
                    ("int8", int8),
                    ("a training step", steps),
                    ("the loop", loop),
                )
                for text in _conditions(lines)
            ),
        },
    )


def _read(name: str) -> list[Line]:
    with (RESULTS / name).open(newline="") as file:
        return list(csv.DictReader(file))


def eager(lines: Sequence[Line]) -> list[Line]:
    """Return the rows of inference in eager mode without an error, the fastest first."""
    found = [line for line in lines if _is_plain(line) and line["fast"] == "False"]
    return sorted(found, key=lambda line: -float(line["images_per_s"]))


def _is_plain(line: Line) -> bool:
    setting = (line["mode"], line["dtype"], line["layout"], line["compile"], line["batch"])
    return setting == ("infer", "float32", "channels_last", "none", "16") and not line["error"]


def _model_row(line: Line) -> Row:
    return (
        f"`{line['model']}`",
        _short(line["images_per_s"]),
        f"{float(line['share']):.0%}",
        _short(line["gflop"]),
        f"{int(line['parameters']) / 1e6:.1f} M",
        line["peak_mib"],
    )


def _loop_row(line: Line) -> Row:
    return f"`{line['model']}`", line["contender"], line["amp"], _short(line["tiles_per_s"]), _ratio(line)


def _int8(lines: Sequence[Line]) -> Iterator[Row]:
    for line in lines:
        yield (
            f"`{line['model']}`" if line["contender"] == "eager" else "",
            line["contender"],
            f"{float(line['salt_map']):.4f}",
            f"{float(line['loss']):.4f}",
            _ratio(line),
            line["file_mib"],
        )


def _phases(lines: Sequence[Line]) -> Iterator[Row]:
    for model, dtype in dict.fromkeys((line["model"], line["dtype"]) for line in lines):
        own = {line["name"]: line for line in lines if (line["model"], line["dtype"]) == (model, dtype)}
        shares = [f"{float(own[name]['share']):.0%}" for name in (*PHASES, "floor")]
        yield model, dtype, _short(own["step"]["ms"]), *shares, own["step"]["peak_mib"]


def _against(lines: Sequence[Line], key: str) -> str:
    """Return what part of SMP's time or memory our U-Net takes in a step, by dtype."""
    whole = {(line["model"], line["dtype"]): float(line[key]) for line in lines if line["kind"] == "step"}
    dtypes = dict.fromkeys(dtype for _, dtype in whole)
    ours, theirs = "unet_resnet34_scse", "smp unet_resnet34_scse"
    return " and ".join(f"{whole[ours, dtype] / whole[theirs, dtype]:.0%}" for dtype in dtypes)


def _operators(lines: Sequence[Line]) -> Iterator[Row]:
    for model, dtype in dict.fromkeys((line["model"], line["dtype"]) for line in lines):
        own = [line for line in lines if (line["model"], line["dtype"], line["kind"]) == (model, dtype, "operator")]
        first = [f"`{line['name']}` {float(line['share']):.0%}" for line in own[:STEP_OPERATORS]]
        yield model, dtype, ", ".join(first)


def _floor(lines: Sequence[Line]) -> Iterator[Row]:
    for line in lines:
        if _is_plain(line):
            how = "optimised" if line["fast"] == "True" else "eager"
            yield f"`{line['model']}`", how, _short(line["matmul_gflops"]), f"{float(line['share']):.0%}"


def _conditions(lines: Sequence[Line]) -> list[str]:
    keys = ("device", "instructions", "cores", "threads", "torch", "onnxruntime", "openvino", "commit", "rounds")
    return list(dict.fromkeys(", ".join(f"{key} {line[key]}" for key in keys if line.get(key)) for line in lines))


def _ratio(line: Line) -> str:
    low, median, high = (float(line[f"ratio{end}"]) for end in ("_min", "", "_max"))
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _short(number: str) -> str:
    return f"{float(number):.3g}" if abs(float(number)) < 100 else f"{float(number):.0f}"


def draw() -> None:
    """Draw both pictures."""
    speeds = {line["model"]: float(line["images_per_s"]) for line in eager(_read("throughput_cpu.csv"))}
    draw_choice(speeds, _read("validate_cpu.csv"))
    draw_phases(_read("profile_cpu.csv"))


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page}, __doc__, draw))
