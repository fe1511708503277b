"""Write docs/reference/models/*.md, a page for each family of networks, and their diagrams; `--check` only checks."""

from __future__ import annotations

import csv
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from _diagram import SIDE, draw
from _page import fill, table, write_or_check
from _weights import RESULTS, bundled, scores, scores_of
from make_models import SIZE, families

import saltzoo
from saltzoo.zoo.catalog import SOURCES
from saltzoo.zoo.registry import find_model

PAGES = Path(__file__).parent / "reference" / "models"
PICTURES = Path(__file__).parent / "pictures" / "networks"
MODES = {"infer": "images/s", "train": "in training"}  # of the benchmark, with the head of its column
SPEED = ("amp_bfloat16", "channels_last", "128", "101")
"""Precision, layout, batch and size of the throughput that the tables have."""
DRAWN = {"unet": "unet_resnet34_scse_hc"}  # in place of the name with the fewest options


def members() -> dict[str, list[str]]:
    """Return the names of each family."""
    names = saltzoo.list_models()
    family = families(names)
    found: dict[str, list[str]] = {title: [] for title in sorted(family.values())}
    for name in names:
        found[family[find_model(name).load_builder()]].append(name)
    return found


def pages() -> dict[Path, Callable[[], str]]:
    """Return the file of each page with the function that writes it."""
    return {PAGES / f"{family}.md": partial(page, family, names) for family, names in members().items()}


def page(family: str, names: Sequence[str]) -> str:
    """Return the page of a family."""
    builder = find_model(family).load_builder()
    return fill(
        "family.md",
        {
            "family": family,
            "anchor": family,
            "summary": _summary(builder),
            "drawn": DRAWN.get(family, family),
            "side": SIDE,
            "names": _names(names),
            "weights": _weights(names),
            "papers": _papers(names),
        },
    )


def diagrams() -> dict[Path, str]:
    """Return the SVG of each family with its file."""
    return {PICTURES / f"{family}.svg": draw(_on_meta(DRAWN.get(family, family)), family) for family in members()}


def _on_meta(name: str) -> saltzoo.Segmenter:
    with torch.device("meta"):
        return saltzoo.create_model(name).eval()


def _summary(builder: object) -> str:
    first = (inspect.getdoc(builder) or "").partition("\n\n")[0].replace("\n", " ").removeprefix("Options of ")
    return first[:1].upper() + first[1:]


def _speeds() -> dict[tuple[str, str], str]:
    """Return the images per second that were measured, by name and mode."""
    with (RESULTS / "throughput_nvidia_h200.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["compile"] == "none" and line["images_per_s"]]
    return {
        (line["model"], line["mode"]): f"{float(line['images_per_s']):,.0f}"
        for line in lines
        if (line["dtype"], line["layout"], line["batch"], line["size"]) == SPEED
    }


def _names(names: Sequence[str]) -> str:
    """Return the table of names, with a column for each mode whose speed was measured."""
    speed = _speeds()
    modes = [mode for mode in MODES if any((name, mode) in speed for name in names)]
    costs = {name: saltzoo.cost(_on_meta(name), SIZE) for name in names}
    rows = table(
        ("name", "parameters", "GFLOP", *(MODES[mode] for mode in modes)),
        [
            (
                f"`{name}`",
                f"{costs[name].parameters / 1e6:.2f}",
                f"{costs[name].flops / 1e9:.2f}",
                *(speed.get((name, mode), "") for mode in modes),
            )
            for name in names
        ],
        right=range(1, 3 + len(modes)),
    )
    size = " x ".join(map(str, SIZE))
    note = f"*Parameters* in millions, *GFLOP* for a gray image of {size}: [all models](../models.md)."
    if modes:
        note += (
            " *Images/s* are those of one NVIDIA H200: bf16, channels_last, batches of 128 images "
            f"of {size}, not compiled."
        )
    return f"{rows}\n\n{note}"


def _weights(names: Sequence[str]) -> str:
    found, rows = scores(), []
    for one in bundled():
        if one.name.partition(".")[0] in names:
            best = {line["tta"]: line["salt_map"] for line in scores_of(one.name, found) if line["fold"]}
            both = (f"{float(best[tta]):.4f}" for tta in ("none", "hflip"))
            rows.append((f"`{one.name}`", f"{one.size / 1e6:.1f}", one.config["license"], *both))
    if not rows:
        return "No weights of this family are published: [train](../../howto/training.md)."
    header = ("weights", "MB", "licence", "score", "with hflip")
    return table(header, rows, right=(1, 3, 4)) + "\n\n[What the scores are of](../../results/weights.md)."


def _papers(names: Sequence[str]) -> str:
    specs = [find_model(name) for name in names]
    numbers = dict.fromkeys(number for spec in specs for number in re.findall(r"\d{4}\.\d{4,5}", spec.paper))
    sources = dict.fromkeys(spec.source for spec in specs if spec.source)
    lines = [f"- [arXiv {number}](https://arxiv.org/abs/{number})" for number in numbers]
    lines += [f"- {SOURCES[key]}" for key in sorted(sources)]
    return "\n".join(lines) or "A network of this project, without a paper."


def _draw() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for path, text in diagrams().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    sys.exit(write_or_check(pages(), __doc__, _draw))
