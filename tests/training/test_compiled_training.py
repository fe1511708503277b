"""A run whose network is compiled learns what one in eager mode learns."""

import json

import pytest
import torch

from saltzoo.data import synthetic_tiles
from saltzoo.training import Recipe, fit
from saltzoo.training.trainer import Trainer

SMALL = {"name": "unet", "options": {"encoder": "resnet10t", "decoder_channels": [8] * 5}}
TILES = synthetic_tiles(16, seed=3)


def recipe(mode):
    return Recipe.from_dict(
        {"model": {**SMALL, "training_options": {"deep_supervision": True}}, "batch_size": 6, "epochs": 1}
        | {"compile": mode, "folds": 4}
    )


@pytest.mark.slow
def test_a_compiled_run_equals_an_eager_one(tmp_path):
    histories = {}
    for mode in ("off", "default"):
        torch.compiler.reset()
        fit(recipe(mode), TILES, tmp_path / mode, tell=lambda line: None)
        histories[mode] = (tmp_path / mode / "log.csv").read_text().splitlines()[1].split(",")
        config = json.loads((tmp_path / mode / "model" / "config.json").read_text())
        assert config["recipe"]["compile"] == mode
    (_, eager, score, _), (_, compiled, same_score, _) = histories.values()
    assert float(compiled) == pytest.approx(float(eager), rel=2e-3)
    assert float(same_score) == pytest.approx(float(score), abs=0.05)


@pytest.mark.slow
def test_the_network_is_compiled_whole(monkeypatch):
    """Without a break of its graph, and by the mode that the recipe names."""
    asked = {}
    compile_ = torch.compile

    def watched(net, **options):
        asked.update(options)
        return compile_(net, backend="eager", fullgraph=True, dynamic=options["dynamic"])

    monkeypatch.setattr(torch, "compile", watched)
    torch.compiler.reset()
    trainer = Trainer(recipe("reduce-overhead"), TILES)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    assert trainer.epoch(0) > 0
    assert asked == {"mode": "reduce-overhead", "dynamic": False}
    assert any(not torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())
    # What is saved has the names of a network that is not compiled.
    assert trainer.parts["model"] is trainer.model
    assert not any(key.startswith("_orig_mod") for key in trainer.parts["model"].state_dict())
