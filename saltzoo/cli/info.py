"""`saltzoo info`: options, parameters and FLOPs of a model, and scores of weights."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ..zoo.registry import find_model
from ..zoo.spec import WeightsSpec

SIZE = (101, 101)
"""Image size at which FLOPs are counted: a tile of the TGS Salt Identification Challenge."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("info", help="show options, parameters and FLOPs of a model, and scores of weights")
    parser.add_argument("name", help="MODEL or MODEL.TAG")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a description of the model, and of its weights if a tag was given."""
    import torch  # here, so that other commands start without it

    from ..models.cost import cost
    from ..zoo.factory import create_model
    from ..zoo.sources import has_tag, parse_source

    source = parse_source(args.name, pretrained=has_tag(args.name))
    weights = source if isinstance(source, WeightsSpec) else None
    spec = find_model(weights.model if weights else args.name)
    with torch.device("meta"):
        model = create_model(spec.name)
    found = cost(model, SIZE)
    size = " x ".join(map(str, SIZE))
    print(f"{spec.name}: {found.parameters:,} parameters, {found.flops / 1e9:.3g} GFLOP per image of {size}")
    for label, text in (("paper", spec.paper), ("source", spec.source)):
        if text:
            print(f"{label}: {text}")
    for option, value in (model.config.model_args if model.config else {}).items():
        print(f"  {option} = {value!r}")
    if weights:
        print("\n".join(_describe(weights)))
    return 0


def _describe(weights: WeightsSpec) -> Iterator[str]:
    """Yield lines that say where weights are, with licence and scores if they are bundled."""
    from ..checkpoints.card import conditions
    from ..checkpoints.folder import CONFIG, read_config
    from ..zoo.sources import BUNDLED

    folder = BUNDLED / weights.name
    if not (folder / CONFIG).is_file():
        yield f"weights {weights.name}: on the Hugging Face Hub, {weights.repo_id}@{weights.revision}"
        return
    config = read_config(folder / CONFIG, source=weights.name)
    yield f"weights {weights.name}: {folder}, licence {config['license']}"
    for metric in config["metrics"]:
        yield f"  {metric['name']} = {metric['value']:.4f} ({conditions(metric)})"
