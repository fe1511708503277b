"""A small model and its checkpoint, shared by the tests of checkpoints."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import saltzoo

TOKEN = "secret"
"""Token of the `hub` fixture that may write to "org"."""


def tiny(seed=0, **options):
    torch.manual_seed(seed)
    return saltzoo.create_model("unet", encoder="test_resnet", **{"decoder_channels": (8,) * 5, **options})


@cache
def checkpoint_files(seed=0):
    """Return the files of the checkpoint of `tiny(seed)`, as bytes by name."""
    with TemporaryDirectory() as place:
        folder = saltzoo.save_pretrained(tiny(seed), Path(place))
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def same_weights(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())
