"""The cards of the bundled weights, read by the Hub's own client: metadata, and scores that it would write the same."""

import json
from pathlib import Path

import pytest
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index

import saltzoo

FOLDERS = sorted(path.parent for path in (Path(saltzoo.__file__).parent / "pretrained").glob("*/config.json"))
LICENSES = {"apache-2.0", "cc-by-nc-4.0"}  # identifiers of the Hub's list, of all weights so far


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_hub_reads_the_card(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    data = ModelCard.load(folder / "README.md", ignore_metadata_errors=False).data
    assert (data.library_name, data.pipeline_tag) == ("saltzoo", "image-segmentation")
    assert data.license == config["license"]
    assert data.license in LICENSES
    assert {"saltzoo", "image-segmentation", "seismic"} <= set(data.tags)
    results = data.eval_results
    assert results
    assert all(isinstance(one, EvalResult) and one.task_type == data.pipeline_tag for one in results)
    assert [(one.metric_type, one.metric_value) for one in results] == [
        (one["name"], one["value"]) for one in config["metrics"]
    ]
    again = eval_results_to_model_index(data.model_name, results)
    assert sum(len(one["metrics"]) for one in again[0]["results"]) == len(results)
    assert data.to_dict()["model-index"] == again


def test_all_weights_have_a_card():
    assert [folder.name for folder in FOLDERS] == sorted(saltzoo.list_models(pretrained=True))
