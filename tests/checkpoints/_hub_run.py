"""What the steps of _hub_steps.py share, and how they are run.

huggingface_hub reads its environment when it is imported: nothing here may import it, or timm, before the server is up.
"""

import inspect
import json
import logging
import os
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from minihub import MiniHub

import saltzoo

TOKEN = "secret"


def tiny(seed=0, **options):
    torch.manual_seed(seed)
    return saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5, **options)


def same(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())


@contextmanager
def saying():
    """The lines that saltzoo logs meanwhile, with their levels."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.levelname} {record.getMessage()}")
    logger = logging.getLogger("saltzoo")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def cached(repo_id, name, place=None):
    """The path of a file in the client's cache, which holds one commit of that repository."""
    place = place or Path(os.environ["HF_HOME"]) / "hub"
    (file,) = (place / f"models--{repo_id.replace('/', '--')}" / "snapshots").glob(f"*/{name}")
    return file


def refused(kind, words, source, **options):
    with pytest.raises(kind, match=words):
        saltzoo.create_model(source, **options)


def run(steps, hub, place):
    """Name of each step -> how it failed; None if it did not."""
    results = {}
    for step in steps:
        given = {"hub": hub, "tmp_path": place / step.__name__}
        try:
            step(**{key: given[key] for key in inspect.signature(step).parameters})
            results[step.__name__] = None
        except (Exception, pytest.fail.Exception):
            results[step.__name__] = traceback.format_exc()
    return results


def main(steps_of, kind, out):
    """Runs the steps of a kind and writes their results as JSON."""
    if kind == "offline":
        results = run(steps_of("offline"), None, out.parent)
    else:
        with MiniHub({TOKEN: ["org"]}) as hub:
            os.environ["HF_ENDPOINT"] = hub.url
            results = run(steps_of("online"), hub, out.parent)
        results |= run(steps_of("closed"), hub, out.parent)
    out.write_text(json.dumps(results))
