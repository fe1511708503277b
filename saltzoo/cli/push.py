"""`saltzoo push`: publish weights on the Hugging Face Hub."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ..zoo import list_models


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("push", help="publish weights on the Hugging Face Hub")
    parser.add_argument("weights", help="MODEL.TAG of bundled weights, or a checkpoint's folder")
    parser.add_argument("--to", required=True, metavar="ORG/NAME", help="repository; created if it does not exist")
    parser.add_argument("--private", action="store_true", help="create a private repository")
    parser.add_argument("--revision", help="branch; created if it does not exist")
    parser.add_argument("--replace", action="store_true", help="replace other weights in the branch")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Push a folder, after building its model."""
    folder = _folder_of(args.weights)
    from ..checkpoints.folder import WEIGHTS
    from ..checkpoints.hub import push_folder
    from ..zoo.factory import create_model

    model = create_model(f"local-dir:{folder}")  # a checkpoint that cannot be loaded is not published
    parameters = sum(parameter.numel() for parameter in model.parameters())
    megabytes = (folder / WEIGHTS).stat().st_size / 1e6
    what = f"{folder}: {type(model).__name__ if model.config is None else model.config.architecture}"
    print(f"{what}, {parameters:,} parameters, {megabytes:.1f} MB", flush=True)
    print(f"to {args.to}@{args.revision or 'main'}", flush=True)
    commit = push_folder(folder, args.to, private=args.private, revision=args.revision, replace=args.replace)
    print(f"{commit.url}\nhf-hub:{args.to}@{commit.sha}")
    return 0


def _folder_of(weights: str) -> Path:
    """Return the folder of bundled weights, or the folder at a path."""
    from ..zoo.sources import BUNDLED

    if weights not in list_models(pretrained=True):
        if not os.path.isdir(weights):
            raise FileNotFoundError(
                f"no weights {weights!r}: neither a name that `saltzoo list --pretrained` prints, nor a folder. "
                f"Give MODEL.TAG, or a folder that save_pretrained wrote"
            )
        return Path(weights)
    bundled = BUNDLED / weights
    if os.path.exists(weights):
        raise ValueError(f"{weights!r} is a folder here and a name of bundled weights: write ./{weights} or {bundled}")
    if not bundled.is_dir():
        raise FileNotFoundError(
            f"the weights {weights!r} are not in {BUNDLED}: give a checkpoint's folder, or install saltzoo from a "
            f"clone of its repository with `pip install -e .`"
        )
    return bundled
