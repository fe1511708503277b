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
        f"license: {_yaml(config['license'])}",
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
            lines += [f"## {title}", "", "```json", json.dumps(values, indent=2, ensure_ascii=False), "```", ""]
    return "\n".join(lines)


def _model_index(name: str, metrics: list[dict[str, Any]]) -> list[str]:
    """The Hub's `model-index`."""
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
            f"      type: {data}",
            "    metrics:",
            f"    - type: {_yaml(metric['name'])}",
            f"      value: {_yaml(metric['value'])}",
        ]
    return lines


def _yaml(value: str | float) -> str:
    """A string or a number in YAML. It is JSON, but for 1e-05, which YAML reads as a string, and for surrogates."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text
