"""Write docs/reference/models.md from the catalog: `python docs/make_models.py`; `--check` only checks it.

Numbers are computed from the models, and options are read from the docstrings of their builders.
"""

from __future__ import annotations

import csv
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _page import Row, fill, table, write_or_check

import saltzoo
from saltzoo.heads import HypercolumnHead
from saltzoo.models.segmenter import MIN_SIZE
from saltzoo.zoo.catalog import SOURCES
from saltzoo.zoo.registry import find_model

PAGE = Path(__file__).parent / "reference" / "models.md"
SIZE = (101, 101)
EXPORTS = Path(__file__).parent.parent / "benchmarks" / "results" / "exports.csv"


def page() -> str:
    """Return the whole page."""
    names = saltzoo.list_models()
    by_builder = families(names)
    exports = _exports()
    return fill(
        "models.md",
        {
            "count": len(names),
            "size": " x ".join(map(str, SIZE)),
            "pages": ", ".join(f"[{title}](models/{title}.md)" for title in sorted(by_builder.values())),
            "tree": "\n".join(f"models/{title}" for title in sorted(by_builder.values())),
            "models": table(
                ("name", "parameters", "GFLOP", "from", "attention", "heads", "paper", "source", "ONNX", "options"),
                [_model_row(name, by_builder[find_model(name).load_builder()], exports) for name in names],
                right=(1, 2, 3),
            ),
            "sources": "\n".join(f"- **{key}**: {meaning}" for key, meaning in SOURCES.items()),
            "options": "\n\n".join(
                _options_section(builder, title)
                for builder, title in sorted(by_builder.items(), key=lambda item: item[1])
            ),
        },
    )


def families(names: Sequence[str]) -> dict[Callable[..., Any], str]:
    """Return each builder with the one of its names that changes the fewest options."""
    found: dict[Callable[..., Any], str] = {}
    for name in sorted(names, key=lambda name: len(find_model(name).options)):
        found.setdefault(find_model(name).load_builder(), name)
    return found


def _exports() -> dict[str, str]:
    """Return what sizes the ONNX file of each model takes, or why there is none, as benchmarks/exports.py found."""
    with EXPORTS.open(newline="", encoding="utf-8") as file:
        return {row["model"]: row["onnx_sizes"] for row in csv.DictReader(file)}


def _model_row(name: str, family: str, exports: Mapping[str, str]) -> Row:
    with torch.device("meta"):
        model = saltzoo.create_model(name)
    cost = saltzoo.cost(model, SIZE)
    spec = find_model(name)
    attention = model.config.model_args.get("attention", "none") if model.config else "none"
    return (
        f"`{name}`",
        f"{cost.parameters / 1e6:.2f}",
        f"{cost.flops / 1e9:.2f}",
        str(_smallest_side(model)),
        "" if attention == "none" else attention,
        ", ".join(_heads(model)),
        ", ".join(
            f"[{number}](https://arxiv.org/abs/{number})" for number in re.findall(r"\d{4}\.\d{4,5}", spec.paper)
        ),
        spec.source,
        exports.get(name, "not tried"),
        f"[`{family}`](#options-of-{family})",
    )


def _smallest_side(model: saltzoo.Segmenter) -> int:
    refused, taken = MIN_SIZE - 1, max(SIZE)
    side = MIN_SIZE  # most models take the smallest; the others take all sides from one on, which halving finds
    while refused + 1 < taken:
        try:
            saltzoo.cost(model, (side, side))
        except ValueError:
            refused = side
        else:
            taken = side
        side = (refused + taken) // 2
    return taken


def _heads(model: saltzoo.Segmenter) -> Iterator[str]:
    if isinstance(model.head, HypercolumnHead):
        yield "hc"
    if model.deep_supervision is not None:
        yield "ds"
    if model.classifier is not None:
        yield "cls fused" if model.head.reads_image else "cls"
    if model.auxiliary is not None:
        yield "aux"


def _options_section(builder: Callable[..., Any], title: str) -> str:
    summary = (inspect.getdoc(builder) or "").partition("\n\n")[0].replace("\n", " ")
    described = descriptions(builder)
    parameters = inspect.signature(builder).parameters.values()
    undescribed = [p.name for p in parameters if p.name not in described]
    if undescribed:
        raise ValueError(f"the docstring of {builder.__qualname__} does not describe {', '.join(undescribed)}")
    rows = [(f"`{p.name}`", f"`{_spelled(p.default)}`", described[p.name]) for p in parameters]
    return f"## Options of `{title}`\n\n{summary}\n\n" + table(("option", "default", "description"), rows)


def descriptions(builder: Callable[..., Any]) -> dict[str, str]:
    """Return the description of each option in the docstrings of a builder and of its base classes."""
    documented = inspect.getmro(builder) if inspect.isclass(builder) else (builder,)
    found: dict[str, str] = {}
    for owner in reversed(documented):
        doc = inspect.cleandoc(owner.__doc__ or "")
        for block in re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", doc, flags=re.MULTILINE):
            entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", block, flags=re.MULTILINE)
            found.update({name: re.sub(r"\s*\n\s*", " ", text) for name, text in entries})
    return found


def _spelled(default: Any) -> str:
    return f'"{default}"' if isinstance(default, str) else repr(default).replace("'", '"')


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page}, __doc__))
