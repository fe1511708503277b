"""Writes docs/speed.md from benchmarks/results: `python docs/make_speed.py`; `--check` only says if it is stale.

Every number is one that a benchmark wrote, beside the conditions it was measured under.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from _page import table, write_or_check

PAGE = Path(__file__).with_name("speed.md")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
PEER = "smp"
OURS = "saltzoo"

INTRODUCTION = """\
<!-- Written by docs/make_speed.py from benchmarks/results: measure again, and run that. -->

# Speed

Beside segmentation_models.pytorch (SMP), in one process and in turns, by
[benchmarks/versus.py](../benchmarks/versus.py). *Times as fast* is the median of the ratios of the rounds, with the
lowest and highest: above 1 saltzoo is faster. Every line of [the results](../benchmarks/results) has its conditions and
the largest difference between both outputs; a summary of them ends this page. Nothing here was measured on a GPU.
"""

SAME = """\
## The same network

SMP's `Unet("resnet34", decoder_attention_type="scse")`, and what `saltzoo.convert.from_smp` makes of it: the same
weights, the same logits. 16 images.
"""

UNLIKE = """\
## Networks that differ

SMP's FPN and PSPNet on ResNet34 beside networks of saltzoo that one would take instead. They do not compute the same,
so this is speed for size, and says nothing of masks. SMP's take sides that are multiples of 32, or 8, and are padded.
Its PSPNet is the fastest: it makes its logits at an eighth of the image, and 19.9 of its 21.4 million parameters take
no part. Those of saltzoo go up to the image's size.
"""

LAYERS = """\
## Layers, losses and metrics alone

Against SMP's module with the same weights; BAM, which SMP has not, against its formula in plain torch operations. MiB:
the peak of both passes beyond what lay there before, and what is kept from the one to the other.

Losses against SMP's; the topology loss, which it has not, against a VGG19 that runs anew for each of its maps. Our
Lovász losses look at all images at once: on both cores, where SMP's loop over images mostly keeps to one, and mostly
with about twice its memory. Metrics against SMP's `get_stats`, or the loop that is named; peaks of torch and numpy
together.
"""
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

PARTS = """\
## Where the time goes

Milliseconds of a part of a network (median), its share of the whole, and its GFLOP an image (backward pass included
where there is one). fp32, channels_last.

`pspunet_small_scse_gum` spends most of its time in guided upsampling. Its first convolution is computed at the size of
the coarse map, which gives the same logits as the 15th-place solution's arrangement and saves nearly half of the
network's multiplications: 5.1 GFLOP at 129 x 129 instead of 9.6. `guide_channels=32` narrows the map before: another
network, with other weights.
"""

Line = dict[str, str]


def page() -> str:
    """The whole page."""
    versus, parts = (_read(RESULTS / name) for name in ("versus_smp_cpu.csv", "parts_cpu.csv"))
    sections = [
        INTRODUCTION,
        SAME,
        table(("", "layout", "128 x 128", "101 x 101"), list(_same(versus))),
        UNLIKE,
        table(
            ("SMP's", "saltzoo's", "size", "", "times as fast", "parameters", "GFLOP an image", "peak MiB"),
            list(_unlike(versus)),
        ),
        LAYERS,
        table(("", "shape", "layout", "", "times as fast", "peak MiB", "kept MiB"), list(_layers(versus))),
        PARTS,
        *_parts(parts),
        "## Conditions\n",
        "".join(f"- {text}\n" for text in _conditions(versus + parts)),
    ]
    return "\n".join(sections)


def _read(path: Path) -> list[Line]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _same(lines: Sequence[Line]) -> Iterator[Sequence[str]]:
    found = {
        (line["mode"], line["dtype"], line["layout"], line["shape"].rpartition("x")[2]): _ratio(line)
        for line in lines
        if line["subject"] == "unet" and line["contender"] == OURS
    }
    for mode, dtype, layout in dict.fromkeys(key[:3] for key in found):
        yield f"{mode}, {dtype}", layout, *(found.get((mode, dtype, layout, size), "") for size in ("128", "101"))


def _unlike(lines: Sequence[Line]) -> Iterator[Sequence[str]]:
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


def _layers(lines: Sequence[Line]) -> Iterator[Sequence[str]]:
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
        yield f"### {model}, {mode}, {own[0]['shape'].replace('x', ' x ')}\n"
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
