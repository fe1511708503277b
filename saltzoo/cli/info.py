"""`saltzoo info`: options, parameters and FLOPs of a model, scores of weights, and geometry of a survey."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..zoo.registry import find_model
from ..zoo.spec import WeightsSpec
from .options import SURVEY_SUFFIXES, command, json_option, survey_options

SIZE = (101, 101)
"""Image size at which FLOPs are counted: a tile of the TGS Salt Identification Challenge."""


class _Refusal(click.ClickException):
    """A survey cannot be read as it is."""

    exit_code = 2


@command("info", example="saltzoo info saltnet_s.tgs2")
@click.argument("name", metavar="MODEL[.TAG]|local-dir:PATH|SURVEY")
@survey_options
@json_option
def info(name: str, *, as_json: bool, **reading: Any) -> int:
    """Describe a model, weights, or a survey.

    A model or weights: options, parameters, FLOPs, licence and scores. A survey, a SEG-Y file or a folder of zarr:
    geometry, traces, amplitudes and text header; the status is 2 if it is refused.
    """
    from ..seismic import is_survey
    from ..zoo.sources import HubRepository, LocalFolder, has_tag, parse_source

    if is_survey(name) or Path(name).suffix.lower() in SURVEY_SUFFIXES:
        return _print_survey(name, as_json=as_json, **reading)
    if given := [option for option, value in reading.items() if value is not None]:
        option = f"--{given[0].replace('_', '-')}"
        raise ValueError(
            f"SURVEY must be a file or a folder of zarr, got {name!r}: give its path, or leave out {option}"
        )
    source = parse_source(name, pretrained=has_tag(name))
    if isinstance(source, HubRepository):
        raise ValueError(
            f"NAME must be a model, weights or a folder, got {name!r} on the Hub: download it, or read its card at "
            f"https://huggingface.co/{source.repo_id}"
        )
    if isinstance(source, LocalFolder):
        found = _of_folder(Path(source.path).expanduser(), name)
    elif isinstance(source, WeightsSpec):
        found = _of_bundled(source)
    else:
        found = _of_model(source.name, {})
    print(json.dumps(found) if as_json else "\n".join(_lines(found)))
    return 0


def _print_survey(path: str, *, as_json: bool, **reading: Any) -> int:
    from ..seismic import describe, description_lines, open_survey

    try:
        found = describe(open_survey(path, **reading))
    except (ValueError, ImportError) as error:
        raise _Refusal(str(error)) from error
    print(json.dumps(found) if as_json else "\n".join(description_lines(found)))
    return 0


def _of_model(name: str, options: dict[str, Any]) -> dict[str, Any]:
    import torch

    from ..models.cost import cost
    from ..zoo.factory import create_model

    spec = find_model(name)
    with torch.device("meta"):
        model = create_model(name, **options)
    found = cost(model, SIZE)
    return {
        "model": name,
        "parameters": found.parameters,
        "flops": found.flops,
        "size": list(SIZE),
        "paper": spec.paper,
        "source": spec.source,
        "options": model.config.model_args if model.config else {},
    }


def _of_folder(folder: Path, name: str) -> dict[str, Any]:
    """Describe a checkpoint on disk: the model that its config names, with its options, or the ensemble."""
    from ..checkpoints.ensemble import KEY
    from ..checkpoints.folder import CONFIG, load_folder

    if not (folder / CONFIG).is_file():
        load_folder(folder)  # raises, and says what is there
    config = _config(folder, name)
    if KEY in config:
        return _of_ensemble(folder, config, name)
    options = {key: value for key, value in config["model_args"].items() if key != "mask_only"}
    return {**_of_model(config["architecture"], options), "weights": {"name": name, **_described(folder, config)}}


def _of_ensemble(folder: Path, config: dict[str, Any], name: str) -> dict[str, Any]:
    """Describe the members of an ensemble one by one; its parameters and FLOPs are their sums."""
    from ..checkpoints.ensemble import KEY, members_of

    members = [_of_folder(folder / member, f"{name}/{member}") for member in members_of(config, name)]
    return {
        "model": "ensemble",
        "parameters": sum(member["parameters"] for member in members),
        "flops": sum(member["flops"] for member in members),
        "size": list(SIZE),
        "paper": None,
        "source": None,
        "options": {"mode": config[KEY]["mode"], "weights": config[KEY]["weights"]},
        "members": members,
        "weights": {"name": name, **_described(folder, config)},
    }


def _of_bundled(weights: WeightsSpec) -> dict[str, Any]:
    """Describe published weights, which may be those of an ensemble."""
    from ..checkpoints.ensemble import is_ensemble
    from ..zoo.sources import BUNDLED

    if is_ensemble(BUNDLED / weights.name):
        return _of_folder(BUNDLED / weights.name, weights.name)
    return {**_of_model(weights.model, {}), "weights": _of_weights(weights)}


def _of_weights(weights: WeightsSpec) -> dict[str, Any]:
    """Describe published weights: where they are, with licence and scores if they are bundled."""
    from ..checkpoints.folder import CONFIG
    from ..zoo.sources import BUNDLED

    folder = BUNDLED / weights.name
    if not (folder / CONFIG).is_file():
        return {"name": weights.name, "hub": f"{weights.repo_id}@{weights.revision}"}
    return {"name": weights.name, **_described(folder, _config(folder, weights.name))}


def _config(folder: Path, name: str) -> dict[str, Any]:
    from ..checkpoints.folder import CONFIG, read_config

    return read_config(folder / CONFIG, source=name)


def _described(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    return {"folder": str(folder), "license": config["license"], "metrics": config["metrics"]}


def _lines(found: dict[str, Any]) -> Iterator[str]:
    from ..checkpoints.card import conditions

    size = " x ".join(map(str, found["size"]))
    yield (
        f"{found['model']}: {found['parameters']:,} parameters, {found['flops'] / 1e9:.3g} GFLOP per image of {size}"
    )
    for label in ("paper", "source"):
        if found[label]:
            yield f"{label}: {found[label]}"
    for option, value in found["options"].items():
        yield f"  {option} = {value!r}"
    for member in found.get("members", ()):
        yield f"member {member['weights']['folder']}: {member['model']}, {member['parameters']:,} parameters"
    weights = found.get("weights")
    if weights is None:
        return
    if "hub" in weights:
        yield f"weights {weights['name']}: on the Hugging Face Hub, {weights['hub']}"
        return
    yield f"weights {weights['name']}: {weights['folder']}, licence {weights['license']}"
    for metric in weights["metrics"]:
        yield f"  {metric['name']} = {metric['value']:.4f} ({conditions(metric)})"
