"""`saltzoo list`: names of models or of weights."""

from __future__ import annotations

import argparse
from typing import Any

from ..zoo import list_models


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("list", help="list the names of models")
    parser.add_argument("filter", nargs="?", default="*", help='shell pattern, such as "*scse*"')
    parser.add_argument("--pretrained", action="store_true", help="list names of weights instead")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the names."""
    names = list_models(args.filter, pretrained=args.pretrained)
    print("\n".join(names) or f"no name matches {args.filter!r}")
    return 0 if names else 1
