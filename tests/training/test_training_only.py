"""Checkpoints of a run: the model without what only training needs."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

import saltzoo
from saltzoo.data import stratified_folds, synthetic_tiles
from saltzoo.training import ModelPart, Recipe, fit
from saltzoo.training.training_only import without_training_options

SMALL = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}
TILES = synthetic_tiles(20, seed=3, size=40)


def train(out, *, seed=0, **model):
    recipe = {"model": {"name": "unet", "options": SMALL, **model}, "epochs": 2, "batch_size": 4, "split": "coverage"}
    recipe["dtype"] = "float16"
    return fit(Recipe.from_dict(recipe), TILES, out, seed=seed, data="tiles", tell=lambda line: None)


def test_a_checkpoint_has_no_training_heads_and_half_the_bytes(tmp_path):
    scores = train(tmp_path, training_options={"deep_supervision": True})

    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["model_args"]["deep_supervision"] is False
    assert config["recipe"]["model"]["training_options"] == {"deep_supervision": True}
    model = saltzoo.create_model(f"local-dir:{tmp_path / 'model'}")
    assert isinstance(model.eval()(torch.rand(2, 1, 64, 64)), torch.Tensor)
    names = dict(model.named_parameters())
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(model.state_dict())
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118  # not a dict
    assert torch.float16 in {kinds[name] for name in names}
    assert torch.float16 not in {kinds[name] for name, _ in model.named_buffers()}

    # Predictions of the trained network, from the last state of the run.
    trained = saltzoo.create_model("unet", deep_supervision=True, **SMALL)
    average = torch.load(tmp_path / "last.pt", weights_only=True)["parts"]["average"]
    prefix = "module."
    trained.load_state_dict({k.removeprefix(prefix): v for k, v in average.items() if k.startswith(prefix)})
    assert len(trained.state_dict()) > len(model.state_dict())
    ours, theirs = (saltzoo.predict(net, TILES.images[:4]) for net in (model, trained))
    np.testing.assert_allclose(ours, theirs, atol=2e-3)  # half precision
    assert not np.array_equal(ours, theirs)

    held_out = TILES.select(stratified_folds(TILES.coverage) == 0)
    masks = saltzoo.predict(model, held_out.images) > 0.5
    assert scores["salt_map"] == pytest.approx(float(saltzoo.metrics.salt_map(masks, held_out.require_masks())))
    (plain, _) = config["metrics"]
    assert plain["value"] == scores["salt_map"]
    assert plain["minutes"] >= 0
    assert f"torch {torch.__version__}" in plain["machine"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(tmp_path):
    one, same, other = (train(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert one == pytest.approx(same, abs=1e-6)
    losses = [(tmp_path / name / "log.csv").read_text().split()[1].split(",")[1] for name in "abc"]
    assert losses[0] == losses[1] != losses[2]
    assert other.keys() == one.keys()


def test_dropout_of_a_resumed_run_is_that_of_an_unbroken_one(tmp_path):
    model = {"name": "unet", "options": {**SMALL, "drop_rate": 0.5}}
    recipe = Recipe.from_dict({"model": model, "epochs": 2, "batch_size": 4})

    def stop(line):
        if line.startswith("epoch 1:"):
            raise KeyboardInterrupt

    fit(recipe, TILES, tmp_path / "unbroken", tell=lambda line: None)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, TILES, tmp_path / "stopped", tell=stop)
    fit(recipe, TILES, tmp_path / "stopped", resume=True, tell=lambda line: None)
    logs = [(tmp_path / name / "log.csv").read_text().split()[1:] for name in ("unbroken", "stopped")]
    unbroken, stopped = ([line.split(",")[:3] for line in lines] for lines in logs)
    assert len(unbroken) == 2
    assert stopped == unbroken


def test_without_training_options_the_trained_model_is_returned():
    model = saltzoo.create_model("unet", **SMALL)
    assert without_training_options(ModelPart("unet", SMALL), model) is model


def test_the_trained_model_is_not_changed():
    part = ModelPart("unet", SMALL, {"deep_supervision": True})
    trained = saltzoo.create_model("unet", deep_supervision=True, **SMALL)
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    kept = without_training_options(part, trained)
    assert trained.training
    for value in kept.parameters():
        value.data.zero_()
    for key, value in trained.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize(
    "options",
    [
        {"attention": "scse"},  # adds tensors
        {"hypercolumn": True},  # changes shapes
        {"decoder_channels": [16, 8, 8, 8, 8]},
        {"upsample": "bilinear"},  # changes no tensor
    ],
)
def test_training_options_that_change_masks_raise_before_training(tmp_path, options):
    with pytest.raises(ValueError, match=r"model\.training_options .* change the masks of 'unet'"):
        train(tmp_path / "run", training_options=options)
    assert not (tmp_path / "run").exists()
