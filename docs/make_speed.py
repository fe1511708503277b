"""Write docs/results/speed.md from benchmarks/results: `python docs/make_speed.py`; `--check` only checks it.

Numbers are those that a benchmark wrote, with the conditions of the measurement.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from _page import Row, fill, table, write_or_check

PAGE = Path(__file__).parent / "results" / "speed.md"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
PEER = "smp"
OURS = "saltzoo"
COPY = "copy of the map"

ALONE = (
    "scse",
    "bam",
    "pyramid_pooling",
    "lovasz",
    "lovasz_softmax",
    "topology",
    "salt_map",
    "confusion",
    "threshold",
)

Line = dict[str, str]


def page() -> str:
    """Return the whole page."""
    versus, parts = (_read(RESULTS / name) for name in ("versus_smp_cpu.csv", "parts_cpu.csv"))
    return fill(
        "speed.md",
        {
            "same": table(("", "layout", "128 x 128", "101 x 101"), list(_same(versus, _ratio))),
            "same_memory": table(("", "layout", "128 x 128", "101 x 101"), list(_same_memory(versus))),
            "unlike": table(
                ("SMP's", "saltzoo's", "size", "", "times as fast", "parameters", "GFLOP per image", "peak MiB"),
                list(_unlike(versus)),
            ),
            "layers": table(
                ("", "shape", "layout", "", "times as fast", "peak MiB", "kept MiB"), list(_layers(versus))
            ),
            "scse_forward": _beyond_a_copy(versus, "forward"),
            "scse_both": _beyond_a_copy(versus, "forward and backward"),
            "import_ours": f"{_import_ms(versus, OURS):.0f}",
            "import_peer": f"{_import_ms(versus, PEER) / 1e3:.1f}",
            "parts": "\n\n".join(_parts(parts)),
            "conditions": "\n".join(f"- {text}" for text in _conditions(versus + parts)),
        },
    )


def _read(path: Path) -> list[Line]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _same(lines: Sequence[Line], cell: Callable[[Line], str]) -> Iterator[Row]:
    """Yield a row for each mode, dtype and layout of the same network, with a cell for each size."""
    found = {
        (line["mode"], line["dtype"], line["layout"], line["shape"].rpartition("x")[2]): cell(line)
        for line in lines
        if line["subject"] == "unet" and line["contender"] == OURS
    }
    for mode, dtype, layout in dict.fromkeys(key[:3] for key in found):
        yield f"{mode}, {dtype}", layout, *(found.get((mode, dtype, layout, size), "") for size in ("128", "101"))


def _same_memory(lines: Sequence[Line]) -> Iterator[Row]:
    peers = {_setting(line): line for line in lines if line["subject"] == "unet" and line["contender"] == PEER}
    training = [line for line in lines if line["mode"] == "training step"]
    return _same(training, lambda line: _beside(peers[_setting(line)], line, "peak_mib"))


def _beyond_a_copy(lines: Sequence[Line], mode: str) -> str:
    """Return how many times as long as a copy of the map the compiled scSE takes, in channels_last."""
    ms = {
        line["contender"]: float(line["ms"])
        for line in lines
        if (line["subject"], line["mode"], line["layout"], line["compile"])
        == ("scse", mode, "channels_last", "default")
    }
    return f"{ms[OURS] / ms[COPY]:.1f}"


def _import_ms(lines: Sequence[Line], contender: str) -> float:
    return next(float(line["ms"]) for line in lines if (line["subject"], line["contender"]) == ("import", contender))


def _unlike(lines: Sequence[Line]) -> Iterator[Row]:
    peers = {_setting(line): line for line in lines if line["contender"] == PEER}
    for line in lines:
        if line["subject"] in ("fpn", "pspnet") and line["contender"] != PEER:
            peer = peers[_setting(line)]
            yield (
                line["subject"],
                line["contender"],
                " x ".join(line["shape"].split("x")[2:]),
                f"{line['mode']}, {line['dtype']}",
                _ratio(line),
                f"{_millions(peer)} to {_millions(line)}",
                f"{_short(peer['gflop'])} to {_short(line['gflop'])}",
                _beside(peer, line, "peak_mib"),
            )


def _layers(lines: Sequence[Line]) -> Iterator[Row]:
    firsts: dict[tuple[str, ...], Line] = {}
    for line in lines:
        if line["subject"] in ALONE:
            first = firsts.setdefault(_setting(line), line)
            if line["contender"] == OURS:
                compiled = ", both compiled" if line["compile"] == "default" else ""
                yield (
                    line["subject"].replace("_", " "),
                    line["shape"].replace("x", " x "),
                    line["layout"],
                    line["mode"] + compiled,
                    _ratio(line),
                    _beside(first, line, "peak_mib"),
                    _beside(first, line, "saved_mib"),
                )


def _setting(line: Line) -> tuple[str, ...]:
    return tuple(line[key] for key in ("subject", "mode", "shape", "dtype", "layout", "compile"))


def _parts(lines: Sequence[Line]) -> Iterator[str]:
    for mode, model in dict.fromkeys((line["mode"], line["model"]) for line in lines):
        own = [line for line in lines if (line["mode"], line["model"]) == (mode, model)]
        yield f"### {model}, {mode}, {own[0]['shape'].replace('x', ' x ')}"
        rows = [
            (line["part"], _short(line["ms"]), f"{float(line['share']):.0%}", _short(line["gflop"])) for line in own
        ]
        yield table(("part", "ms", "share", "GFLOP"), rows, right=(1, 2, 3))


def _conditions(lines: Sequence[Line]) -> list[str]:
    keys = ("device", "cores", "threads", "torch", "timm", "segmentation_models_pytorch", "commit", "date", "rounds")
    found: dict[str, list[str]] = {}
    for line in lines:
        text = ", ".join(f"{key} {line[key]}" for key in keys if line.get(key))
        found.setdefault(text, []).append(line["subject"])
    return [f"{', '.join(dict.fromkeys(subjects))}: {text}" for text, subjects in found.items()]


def _ratio(line: Line) -> str:
    low, median, high = (float(line[f"ratio{end}"]) for end in ("_min", "", "_max"))
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _beside(first: Line, second: Line, key: str) -> str:
    return f"{_short(first[key])} to {_short(second[key])}" if first[key] and second[key] else ""


def _millions(line: Line) -> str:
    return f"{int(line['parameters']) / 1e6:.1f} M"


def _short(number: str) -> str:
    return f"{float(number):.3g}" if float(number) < 100 else f"{float(number):.0f}"


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page}, __doc__))
