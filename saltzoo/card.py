"""The model card: README.md of a checkpoint, for people and for the Hub's index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def model_card(config: Mapping[str, Any]) -> str:
    """A card in Markdown with the Hub's metadata in front.

    Args:
        config: what config.json holds.
    """
    name = config["architecture"]
    metadata = [
        "library_name: saltzoo",
        "pipeline_tag: image-segmentation",
        f"license: {json.dumps(config['license'])}",
        "tags:",
        *(f"- {tag}" for tag in ("saltzoo", "image-segmentation", "seismic", "pytorch")),
        *_model_index(name, config["metrics"]),
    ]
    lines = [
        "---",
        *metadata,
        "---",
        "",
        f"# {name}",
        "",
        "A segmentation model of saltzoo.",
        "",
        "## Use",
        "",
    ]
    lines += [
        "```python",
        "import numpy as np",
        "import saltzoo",
        "",
        'model = saltzoo.create_model("local-dir:PATH")  # or hf-hub:org/name',
        "images = np.zeros((1, 101, 101), dtype=np.uint8)  # your gray tiles: (N, H, W), uint8",
        "probabilities = saltzoo.predict(model, images)  # (N, H, W), float32",
        "```",
        "",
    ]
    if config["metrics"]:
        lines += ["## Scores", "", "| score | value | conditions |", "|---|---|---|"]
        for metric in config["metrics"]:
            conditions = ", ".join(f"{key} {value}" for key, value in metric.items() if key not in ("name", "value"))
            lines.append(f"| {metric['name']} | {metric['value']:.4f} | {conditions} |")
        lines.append("")
    for title, values in (("Model", config["model_args"]), ("Training", config["recipe"])):
        if values:
            lines += [f"## {title}", "", "```json", json.dumps(values, indent=2), "```", ""]
    return "\n".join(lines)


def _model_index(name: str, metrics: list[dict[str, Any]]) -> list[str]:
    """The Hub's `model-index`. JSON strings are YAML, so quoting is left to json."""
    if not metrics:
        return []
    lines = ["model-index:", f"- name: {json.dumps(name)}", "  results:"]
    for metric in metrics:
        data = json.dumps(str(metric.get("data", "unknown")))
        lines += [
            "  - task:",
            "      type: image-segmentation",
            "    dataset:",
            f"      name: {data}",
            f"      type: {data}",
            "    metrics:",
            f"    - type: {json.dumps(metric['name'])}",
            f"      value: {json.dumps(metric['value'])}",
        ]
    return lines
