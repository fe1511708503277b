"""The command `saltzoo`: names, what is behind them, and publishing weights."""

from __future__ import annotations

import argparse
import json
import os
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
    push.add_argument("--replace", action="store_true", help="put them in the place of other weights that are there")
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
    folder = _folder_of(args.weights)
    from .checkpoint import WEIGHTS
    from .factory import create_model
    from .hub import push_folder

    model = create_model(f"local-dir:{folder}")  # what can't be loaded is not published
    parameters = sum(parameter.numel() for parameter in model.parameters())
    megabytes = (folder / WEIGHTS).stat().st_size / 1e6
    what = f"{folder}: {type(model).__name__ if model.config is None else model.config.architecture}"
    print(f"{what}, {parameters:,} parameters, {megabytes:.1f} MB", flush=True)
    print(f"to {args.to}@{args.revision or 'main'}", flush=True)
    commit = push_folder(folder, args.to, private=args.private, revision=args.revision, replace=args.replace)
    print(f"{commit.url}\nhf-hub:{args.to}@{commit.sha}")
    return 0


def _folder_of(weights: str) -> Path:
    """The folder of published weights in the package, or the one that is at a path."""
    from .sources import BUNDLED

    if weights not in list_models(pretrained=True):
        if not os.path.isdir(weights):
            raise FileNotFoundError(
                f"no weights {weights!r}: neither a name that `saltzoo list --pretrained` knows, nor a folder. "
                f"Give NAME.TAG, or a folder that save_pretrained wrote"
            )
        return Path(weights)
    bundled = BUNDLED / weights
    if os.path.exists(weights):
        raise ValueError(f"{weights!r} is here and in the package: say ./{weights}, or {bundled}")
    if not bundled.is_dir():
        raise FileNotFoundError(
            f"the weights {weights!r} are not in {BUNDLED}: give the folder of a checkpoint, or take a clone of "
            f"saltzoo's repository, installed with `pip install -e .`"
        )
    return bundled


if __name__ == "__main__":
    sys.exit(main())
