"""Write docs/reference/recipes.md from the dataclasses of a recipe; `--check` only checks it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from _page import fill, table, write_or_check
from make_models import descriptions

from saltzoo.data import Augment, SurveyAugment
from saltzoo.training import (
    AveragePart,
    LossPart,
    ModelPart,
    OptimizerPart,
    RatePart,
    Recipe,
    StudentPart,
    SupervisionPart,
    SyntheticPart,
)

PAGE = Path(__file__).parent / "reference" / "recipes.md"
PARTS: dict[str, type] = {
    "[model]": ModelPart,
    "[optimizer]": OptimizerPart,
    "[rate]": RatePart,
    "[[losses]]": LossPart,
    "[supervision]": SupervisionPart,
    "[augment]": Augment,
    "[survey]": SurveyAugment,
    "[average]": AveragePart,
    "[student]": StudentPart,
    "[synthetic]": SyntheticPart,
}


def page() -> str:
    """Return the whole page."""
    return fill("recipes.md", {"tables": "\n\n".join(_sections())})


def _sections() -> Iterator[str]:
    tables = {heading.strip("[]") for heading in PARTS}
    yield "## Top of the file\n\n" + _rows(Recipe, without=tables)
    for heading, part in PARTS.items():
        about = descriptions(Recipe)[heading.strip("[]")]
        yield f"## `{heading}`\n\n{about[0].upper()}{about[1:]}\n\n" + _rows(part)


def _rows(part: type, *, without: set[str] | None = None) -> str:
    described = descriptions(part)
    own = [field for field in fields(part) if field.init and field.name not in (without or ())]
    return table(
        ("key", "default", "meaning"),
        [(f"`{field.name}`", _default(field), described[field.name]) for field in own],
    )


def _default(field: Field[Any]) -> str:
    """Return the default of a key as TOML has it."""
    if field.default_factory is not MISSING:
        return f"`{_toml(field.default_factory())}`"
    return "required" if field.default is MISSING else "none" if field.default is None else f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return "{}" if value == {} else str(list(value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page}, __doc__))
