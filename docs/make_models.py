"""Writes docs/models.md from the catalog: `python docs/make_models.py`, or with `--check` only says if it is stale.

Every number is computed and every option read from its builder's docstring, so the page can't say what is not so.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from _page import Row, table, write_or_check

import saltzoo
from saltzoo.heads import HypercolumnHead
from saltzoo.models.segmenter import MIN_SIZE
from saltzoo.zoo.catalog import SOURCES
from saltzoo.zoo.registry import find_model

PAGE = Path(__file__).with_name("models.md")
SIZE = (101, 101)

INTRODUCTION = """\
<!-- Written by docs/make_models.py: change that, or the catalog, or a builder's docstring. -->

# Models

{count} models have a name. A name is looked up, never parsed, and is short for a builder with some of its options:
every other combination is composed by giving options of your own.

```python
import saltzoo

model = saltzoo.create_model("unet_resnet34_scse")
composed = saltzoo.create_model("unet", encoder="test_resnet", attention="cbam", hypercolumn=True, num_classes=2)
names = saltzoo.list_models("*scse*")
cost = saltzoo.cost(model, size=(128, 128))  # cost.parameters, cost.flops
```

`in_chans` is 1 and `num_classes` is 1 unless you say otherwise. `pretrained_encoder=True` loads ImageNet weights into a
timm encoder, and any timm network that gives a pyramid of features may be one. A model with deep supervision, a
classifier or an auxiliary head returns a `saltzoo.SegOutput`; `mask_only=True` leaves out what only training needs, and
the model returns logits alone. Images may have any height and width from the smallest side in the table on, even or
odd.
"""

TABLE = """\
## Names

Parameters in millions, with all heads; 10^9 floating-point operations (a multiply-add is two) of one forward pass of
one gray image of {size}, by `saltzoo.cost`: its docstring says which operations count. Heads: *hc* reads the mask from
a hypercolumn, *ds* is deep supervision, *cls* says whether there is any salt (*cls fused*: to the hypercolumn too),
*aux* is an auxiliary head at a stage of the encoder. *From*: the smallest side of an image that it takes. *Source*: the
public solution below that had this combination of encoder, attention and heads.
"""


def page() -> str:
    """The whole page."""
    names = saltzoo.list_models()
    families = _families(names)
    parts = [
        INTRODUCTION.format(count=len(names)),
        TABLE.format(size=" x ".join(map(str, SIZE))),
        table(
            ("name", "parameters", "GFLOP", "from", "attention", "heads", "paper", "source", "options"),
            [_model_row(name, families[find_model(name).load_builder()]) for name in names],
            right=(1, 2, 3),
        ),
        "Sources, public solutions of the TGS Salt Identification Challenge:\n",
        "".join(f"- **{key}**: {meaning}\n" for key, meaning in SOURCES.items()),
        *(_options_section(builder, title) for builder, title in sorted(families.items(), key=lambda item: item[1])),
    ]
    return "\n".join(parts)


def _families(names: Sequence[str]) -> dict[Callable[..., Any], str]:
    """Each builder, and the one of its names that changes the fewest of its options."""
    families: dict[Callable[..., Any], str] = {}
    for name in sorted(names, key=lambda name: len(find_model(name).options)):
        families.setdefault(find_model(name).load_builder(), name)
    return families


def _model_row(name: str, family: str) -> Row:
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
        f"[`{family}`](#options-of-{family})",
    )


def _smallest_side(model: saltzoo.Segmenter) -> int:
    for side in range(MIN_SIZE, max(SIZE)):
        try:
            saltzoo.cost(model, (side, side))
        except ValueError:
            continue
        return side
    return max(SIZE)


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
    untold = [p.name for p in parameters if p.name not in described]
    if untold:
        raise ValueError(f"the docstring of {builder.__qualname__} does not describe {', '.join(untold)}")
    rows = [(f"`{p.name}`", f"`{_spelled(p.default)}`", described[p.name]) for p in parameters]
    return f"## Options of `{title}`\n\n{summary}\n\n" + table(("option", "default", "what it is"), rows)


def descriptions(builder: Callable[..., Any]) -> dict[str, str]:
    """What the docstrings of a builder, and of the classes that it extends, say of each option."""
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
