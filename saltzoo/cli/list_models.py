"""`saltzoo list`: names of models or of weights."""

from __future__ import annotations

import json

import click

from ..zoo import list_models
from .options import command, json_option


@command("list", example="saltzoo list '*scse*' --pretrained")
@click.argument("pattern", metavar="[PATTERN]", default="*")
@click.option("--pretrained", is_flag=True, help="List names of weights instead.")
@json_option
def list_names(pattern: str, *, pretrained: bool, as_json: bool) -> int:
    """List names of models, all or those that match a shell PATTERN."""
    names = list_models(pattern, pretrained=pretrained)
    if as_json:
        print(json.dumps(names))
    else:
        print("\n".join(names) or f"no name matches {pattern!r}")
    return 0 if names else 1
