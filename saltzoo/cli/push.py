"""`saltzoo push`: publish weights on the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..zoo import list_models
from .options import command


@command("push", example="saltzoo push runs/new/model --to ORG/NAME --private")
@click.argument("weights", metavar="MODEL.TAG|FOLDER")
@click.option("--to", "repository", required=True, metavar="ORG/NAME", help="Repository; created if it does not exist.")
@click.option("--private", is_flag=True, help="Create a private repository.")
@click.option("--revision", help="Branch; created if it does not exist.")
@click.option("--replace", is_flag=True, help="Replace other weights in the branch.")
def push(weights: str, *, repository: str, private: bool, revision: str | None, replace: bool) -> int:
    """Publish weights on the Hugging Face Hub.

    The weights are bundled ones, or those of a checkpoint's folder, as save_pretrained writes it.
    """
    folder = _folder_of(weights)
    from ..checkpoints.folder import WEIGHTS
    from ..checkpoints.hub import push_folder
    from ..zoo.ensemble import Ensemble
    from ..zoo.factory import create_model

    model = create_model(f"local-dir:{folder}")  # a checkpoint that cannot be loaded is not published
    parameters = sum(parameter.numel() for parameter in model.parameters())
    megabytes = sum(file.stat().st_size for file in folder.rglob(WEIGHTS)) / 1e6
    config = None if isinstance(model, Ensemble) else model.config
    what = f"{folder}: {type(model).__name__ if config is None else config.architecture}"
    print(f"{what}, {parameters:,} parameters, {megabytes:.1f} MB")
    print(f"to {repository}@{revision or 'main'}")
    commit = push_folder(folder, repository, private=private, revision=revision, replace=replace)
    print(f"{commit.url}\nhf-hub:{repository}@{commit.sha}")
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
