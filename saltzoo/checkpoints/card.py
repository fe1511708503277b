"""The model card: README.md of a checkpoint, for readers and for the Hub's index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_PLACE = "local-dir:PATH"


def model_card(config: Mapping[str, Any]) -> str:
    """Return a card in Markdown, with the Hub's metadata at its top.

    Args:
        config: content of config.json. A metric's "dataset" is the name of its data on the Hub.
    """
    name = config["architecture"]
    lines = [
        *_head(name, "A segmentation model of saltzoo.", config),
        *_use("model", bool(config.get("preprocess", {}).get("scalar"))),
        *_scores(config["metrics"]),
    ]
    for title, values in (("Model", config["model_args"]), ("Training", config["recipe"])):
        lines += _table(title, values)
    return "\n".join(lines)


def ensemble_card(config: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> str:
    """Return the card of an ensemble: its members with their scores and licences, and its own scores.

    Args:
        config: content of the ensemble's config.json.
        members: content of each member's config.json.
    """
    parts = config["ensemble"]
    kinds = {member["architecture"] for member in members}
    name = f"ensemble of {len(members)} {kinds.pop() if len(kinds) == 1 else 'models'}"
    how = {"mean": "averages their probabilities", "logit_mean": "averages their logits", "vote": "counts their votes"}
    lines = [
        *_head(name, f"An ensemble of saltzoo, which {how[parts['mode']]}.", config),
        *_use("ensemble", bool(members[0].get("preprocess", {}).get("scalar"))),
        *_scores(config["metrics"]),
        "## Members",
        "",
        "| member | model | weight | licence | scores |",
        "|---|---|---|---|---|",
    ]
    for place, weight, member in zip(parts["members"], parts["weights"], members, strict=True):
        scores = "; ".join(f"{one['name']} {one['value']:.4f} ({conditions(one)})" for one in member["metrics"])
        lines.append(f"| {place} | {member['architecture']} | {weight:g} | {member['license']} | {scores} |")
    return "\n".join([*lines, "", *_table("Training", config["recipe"])])


def _head(name: str, what: str, config: Mapping[str, Any]) -> list[str]:
    """Return the metadata and the title."""
    return [
        "---",
        "library_name: saltzoo",
        "pipeline_tag: image-segmentation",
        f"license: {_yaml(config['license'])}",
        "tags:",
        *(f"- {tag}" for tag in ("saltzoo", "image-segmentation", "seismic", "pytorch")),
        *_datasets(config["metrics"]),
        *_model_index(name, config["metrics"]),
        "---",
        "",
        f"# {name}",
        "",
        what,
        "",
    ]


def _use(variable: str, scalar: bool) -> list[str]:
    # One number for each image, of a network that reads one.
    scalars = ", scalars=[0.0]" if scalar else ""
    return [
        "## Use",
        "",
        "```python",
        "import numpy as np",
        "import saltzoo",
        "",
        f'{variable} = saltzoo.create_model("{_PLACE}")',
        "images = np.zeros((1, 101, 101), dtype=np.uint8)  # your gray tiles: (N, H, W), uint8",
        f"probabilities = saltzoo.predict({variable}, images{scalars})  # (N, H, W), float32",
        "```",
        "",
    ]


def _scores(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    if not metrics:
        return []
    rows = [f"| {metric['name']} | {metric['value']:.4f} | {conditions(metric)} |" for metric in metrics]
    return ["## Scores", "", "| score | value | conditions |", "|---|---|---|", *rows, ""]


def _table(title: str, values: Mapping[str, Any]) -> list[str]:
    if not values:
        return []
    return [f"## {title}", "", "```json", json.dumps(values, indent=2, ensure_ascii=False), "```", ""]


def conditions(metric: Mapping[str, Any]) -> str:
    """Return how a score was measured, in a line.

    Example:
        >>> conditions({"name": "salt_map", "value": 0.85, "data": "tiles", "fold": 0})
        'data tiles, fold 0'
    """
    return ", ".join(f"{key} {value}" for key, value in metric.items() if key not in ("name", "value"))


def card_on_hub(card: str, repo_id: str, revision: str | None = None) -> str:
    """Return the card with the repository in place of the local path in its usage.

    Args:
        card: result of `model_card`, possibly edited by hand.
        repo_id: "org/name".
        revision: branch. None: the main branch.

    Example:
        >>> card_on_hub('create_model("local-dir:PATH")', "org/name")
        'create_model("hf-hub:org/name")'
    """
    return card.replace(_PLACE, f"hf-hub:{repo_id}@{revision}" if revision else f"hf-hub:{repo_id}")


def _datasets(metrics: list[dict[str, Any]]) -> list[str]:
    """Return the `datasets` entry of the metadata: the data sets on the Hub that scores name."""
    names = dict.fromkeys(str(metric["dataset"]) for metric in metrics if "dataset" in metric)
    return ["datasets:", *(f"- {_yaml(name)}" for name in names)] if names else []


def _model_index(name: str, metrics: list[dict[str, Any]]) -> list[str]:
    """Return the `model-index` entry of the metadata."""
    if not metrics:
        return []
    lines = ["model-index:", f"- name: {_yaml(name)}", "  results:"]
    for metric in metrics:
        data = _yaml(str(metric.get("data", "unknown")))
        lines += [
            "  - task:",
            "      type: image-segmentation",
            "    dataset:",
            f"      name: {data}",
            f"      type: {_yaml(str(metric.get('dataset', metric.get('data', 'unknown'))))}",
            "    metrics:",
            f"    - type: {_yaml(metric['name'])}",
            f"      value: {_yaml(metric['value'])}",
        ]
    return lines


def _yaml(value: str | float) -> str:
    """Return a string or number in YAML: JSON, except for 1e-05, which YAML would read as a string."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text
