"""The type of an option that takes several values, separated by commas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    ParamType = click.ParamType[tuple[Any, ...]]
else:
    ParamType = click.ParamType  # not generic before click 8.4


class Listed(ParamType):
    """Values separated by commas, each once.

    Args:
        choices: values to choose from; none for any text.
    """

    name = "list"

    def __init__(self, choices: Sequence[str] = ()) -> None:
        self.choices = choices

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the choices."""
        return f"[{'|'.join(self.choices)}],..." if self.choices else "A,B,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return the values, or raise click.BadParameter."""
        parts = value if isinstance(value, tuple) else tuple(dict.fromkeys(str(value).split(",")))
        for part in parts:
            if self.choices and part not in self.choices:
                self.fail(f"{part!r} is none of {', '.join(self.choices)}.", param, ctx)
        return tuple(parts)
