"""The command `saltzoo`: names, what is behind them, and publishing weights."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from . import __version__
from .registry import find_model, find_weights, list_models
from .spec import WeightsSpec

SIZE = (101, 101)
"""Of the image that FLOPs are told of: a tile of the TGS Salt challenge."""


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="saltzoo", description="A model zoo for segmenting salt in seismic images.")
    parser.add_argument("--version", action="version", version=f"saltzoo {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="names of models")
    listing.add_argument("filter", nargs="?", default="*", help='a shell pattern, such as "*scse*"')
    listing.add_argument("--pretrained", action="store_true", help="names with their weights instead")
    listing.set_defaults(run=_list)

    info = commands.add_parser("info", help="options, parameters and FLOPs of a model; scores of weights")
    info.add_argument("name", help="MODEL or MODEL.TAG")
    info.set_defaults(run=_info)

    push = commands.add_parser("push", help="put weights on the Hugging Face Hub")
    push.add_argument("weights", help="NAME.TAG that comes with the package, or a checkpoint's folder")
    push.add_argument("--to", required=True, metavar="ORG/NAME", help="the repository; made if it is not there")
    push.add_argument("--private", action="store_true", help="make it a private one")
    push.add_argument("--revision", help="a branch; made if it is not there")
    push.set_defaults(run=_push)
    return parser


def _list(args: argparse.Namespace) -> int:
    names = list_models(args.filter, pretrained=args.pretrained)
    print("\n".join(names) or f"no name fits {args.filter!r}")
    return 0 if names else 1


def _info(args: argparse.Namespace) -> int:
    weights = find_weights(args.name) if "." in args.name else None
    spec = find_model(weights.model if weights else args.name)
    import torch  # what takes a second waits until it is needed

    from .costs import cost
    from .factory import create_model

    with torch.device("meta"):
        model = create_model(spec.name)
    found = cost(model, SIZE)
    size = " x ".join(map(str, SIZE))
    print(f"{spec.name}: {found.parameters:,} parameters, {found.flops / 1e9:.3g} GFLOP an image of {size}")
    for label, text in (("paper", spec.paper), ("source", spec.source)):
        if text:
            print(f"{label}: {text}")
    for option, value in (model.config.model_args if model.config else {}).items():
        print(f"  {option} = {value!r}")
    if weights:
        print("\n".join(_about(weights)))
    return 0


def _about(weights: WeightsSpec) -> Iterator[str]:
    """Where weights are, and what the card says of those that come with the package."""
    from .checkpoint import CONFIG
    from .sources import BUNDLED

    folder = BUNDLED / weights.name
    if not (folder / CONFIG).is_file():
        yield f"weights {weights.name}: on the Hugging Face Hub, {weights.repo_id}@{weights.revision}"
        return
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    yield f"weights {weights.name}: {folder}, licence {config['license']}"
    for metric in config["metrics"]:
        conditions = ", ".join(f"{key} {value}" for key, value in metric.items() if key not in ("name", "value"))
        yield f"  {metric['name']} = {metric['value']:.4f} ({conditions})"


def _push(args: argparse.Namespace) -> int:
    from .hub import push_folder
    from .sources import BUNDLED

    folder = BUNDLED / args.weights
    if not folder.is_dir():
        folder = Path(args.weights)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no weights {args.weights!r}: neither in {BUNDLED}, nor a folder. "
            f"Give NAME.TAG, or a folder that save_pretrained wrote"
        )
    commit = push_folder(folder, args.to, private=args.private, revision=args.revision)
    print(f"{commit.url}\nhf-hub:{args.to}@{commit.sha}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
