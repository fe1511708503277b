"""Whole runs: each part of a recipe has its effect, and a resumed run equals an unbroken one."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo.data import Tiles, synthetic_tiles
from saltzoo.preprocess import Preprocess
from saltzoo.training import Recipe, Trainer, fit, unfreezing_stages
from saltzoo.training.resume import check_folder

TINY = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}
TILES = synthetic_tiles(20, seed=3)
TILES = Tiles(TILES.ids, TILES.images[:, 34:67, 34:67], TILES.require_masks()[:, 34:67, 34:67])
LR = 0.01
# One step of plain gradient descent an epoch: the result has a closed form.
PLAIN = {"name": "sgd", "lr": LR, "momentum": 0.0, "weight_decay": 0.0}
ONE_STEP = {"batch_size": 16, "rate": {"warmup": 0.0}}

CASES = {
    "ema": {},
    "sgd": {"optimizer": {"name": "sgd", "lr": LR}},
    "sgd_unfreezing": {"optimizer": {"name": "sgd", "lr": LR}, "frozen_until": 0.6},
    "adamw_unfreezing": {"frozen_until": 0.6},
    "frozen_batch_norm": {"frozen_batch_norm": True, "average": {"reestimate_batch_norm": True}},
    "swa": {"average": {"kind": "swa", "start": 0.25}},
    "no_average": {"average": {"kind": "none"}},
    "cycles": {"rate": {"cycles": 2, "warmup": 0.0}},
    "normalized": {**ONE_STEP, "optimizer": {**PLAIN, "normalized_gradient": True, "clip_norm": 0}},
    "scales": {"optimizer": {"encoder_scale": 1e-6, "scales": {"decoder": 0.01}}},
    "no_clip": {**ONE_STEP, "optimizer": {**PLAIN, "clip_norm": 0}},
    "clip": {**ONE_STEP, "optimizer": {**PLAIN, "clip_norm": 0.001}},
}


def recipe_of(case):
    table = {"model": {"name": "unet", "options": TINY}, "epochs": 2, "batch_size": 4, "split": "coverage"}
    return Recipe.from_dict({**table, **CASES[case]})


def train(case, out, **options):
    return fit(recipe_of(case), TILES, out, **{"tell": lambda line: None, **options})


def stop(line):
    if line.startswith("epoch 1:"):
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """Return the folder of a case's run, which was stopped after its first epoch (state first.pt) and resumed."""
    done = {}

    def run(case):
        if case not in done:
            out = done[case] = tmp_path_factory.mktemp(case)
            with pytest.raises(KeyboardInterrupt):
                train(case, out, tell=stop)
            shutil.copy(out / "last.pt", out / "first.pt")
            train(case, out, resume=True)
        return done[case]

    return run


def parts_of(out, file="last.pt"):
    return torch.load(out / file, weights_only=True)["parts"]


def log_of(out):
    with open(out / "log.csv", newline="") as file:
        return [row[:3] for row in csv.reader(file)][1:]


def kept(out, folder="model"):
    return saltzoo.create_model(f"local-dir:{out / folder}")


def fresh(case):
    """Return the model before training."""
    return Trainer(recipe_of(case), TILES).model


def moves(case, state):
    """Return the change of each parameter since the start of training."""
    start = dict(fresh(case).named_parameters())
    return {name: state[name] - value.detach() for name, value in start.items()}


def averaged(parts):
    return {key.removeprefix("module."): value for key, value in parts["average"].items() if key.startswith("module.")}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0, msg=name)


SLOW_CASES = ("sgd", "no_average", "cycles", "no_clip", "clip", "scales", "sgd_unfreezing", "swa")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case in SLOW_CASES else case for case in CASES]
)
def test_a_resumed_run_equals_an_unbroken_one(case, run_of, tmp_path):
    stopped = run_of(case)
    train(case, tmp_path)
    assert len(log_of(tmp_path)) == 2
    assert log_of(stopped) == log_of(tmp_path)
    ours, theirs = parts_of(stopped), parts_of(tmp_path)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"optimizer"}:
        assert_same(ours[name], theirs[name])
    assert_same(kept(stopped).state_dict(), kept(tmp_path).state_dict())
    moved = moves(case, ours["model"])
    assert any(change.abs().max() > 0 for change in moved.values())


def test_sgd_has_nesterov_momentum(run_of):
    optimizer = parts_of(run_of("sgd"))["optimizer"]
    count = len(list(fresh("sgd").parameters()))
    assert sum("momentum_buffer" in state for state in optimizer["state"].values()) == count
    assert {(group["momentum"], group["nesterov"]) for group in optimizer["param_groups"]} == {(0.9, True)}


@pytest.mark.parametrize("case", ["sgd_unfreezing", "adamw_unfreezing"])
def test_stages_are_unfrozen_one_by_one(case, run_of):
    stages = unfreezing_stages(fresh(case))
    first, last = (moves(case, parts_of(run_of(case), file)["model"]) for file in ("first.pt", "last.pt"))
    assert len(stages) > 2
    assert not any(first[name].any() for name in stages[0])
    assert all(first[name].any() for name in first if name.startswith("head"))
    assert any(first[name].any() for name in stages[-1])
    assert all(last[name].any() for name in stages[0])


def test_frozen_batch_norms_of_the_checkpoint_are_unchanged(run_of):
    start, end = fresh("frozen_batch_norm").state_dict(), kept(run_of("frozen_batch_norm")).state_dict()
    statistics = [name for name in start if "running_" in name or "num_batches" in name]
    frozen = [name for name in statistics if name.startswith("encoder.")]
    others = [name for name in statistics if not name.startswith("encoder.")]
    assert frozen
    assert_same({name: end[name] for name in frozen}, {name: start[name] for name in frozen})
    assert all(not torch.equal(end[name], start[name]) for name in others)
    # Re-estimated on the 16 training tiles in one batch; training had 8 batches.
    assert {int(end[name]) for name in others if "num_batches" in name} == {1}
    trained = parts_of(run_of("frozen_batch_norm"))["model"]
    assert {int(trained[name]) for name in others if "num_batches" in name} == {8}


def test_the_stochastic_average_is_the_mean_of_epochs_with_new_statistics(run_of):
    out = run_of("swa")
    first, last = (parts_of(out, file)["model"] for file in ("first.pt", "last.pt"))
    model = kept(out)
    for name, parameter in model.named_parameters():
        assert not torch.equal(first[name], last[name])
        torch.testing.assert_close(parameter.detach(), (first[name] + last[name]) / 2)
    batches = {int(value) for name, value in model.state_dict().items() if "num_batches" in name}
    assert batches == {1}


def test_the_exponential_average_is_saved_unchanged(run_of):
    parts = parts_of(run_of("ema"))
    assert int(parts["average"]["n_averaged"]) == 8
    assert_same(kept(run_of("ema")).state_dict(), averaged(parts))
    assert {int(value) for name, value in averaged(parts).items() if "num_batches" in name} == {8}


def test_without_an_average_the_model_is_saved(run_of):
    parts = parts_of(run_of("no_average"))
    assert parts.keys() == {"model", "optimizer"}
    assert_same(kept(run_of("no_average")).state_dict(), parts["model"])
    assert kept(run_of("no_average")).tile_size == TILES.images.shape[1:]


def test_each_cycle_ends_in_a_snapshot_with_its_score(run_of):
    out = run_of("cycles")
    assert {path.name for path in out.glob("snapshot_*")} == {"snapshot_1", "snapshot_2"}
    for (epoch, _, score), file in zip(log_of(out), ("first.pt", "last.pt"), strict=True):
        parts, folder = parts_of(out, file), f"snapshot_{epoch}"
        assert_same(kept(out, folder).state_dict(), averaged(parts))
        (metric,) = json.loads((out / folder / "config.json").read_text())["metrics"]
        assert metric["value"] == float(score)
        assert metric["epoch"] == f"{epoch} of 2"
        # The last of the four steps of a cycle.
        for group in parts["optimizer"]["param_groups"]:
            assert group["lr"] == pytest.approx(1.5e-3 * (0.5 + 0.5 * math.cos(0.75 * math.pi)))
    assert not np.array_equal(*(saltzoo.predict(kept(out, f"snapshot_{n}"), TILES.images[:2]) for n in (1, 2)))


def test_normalized_gradients_give_steps_of_one_length(run_of):
    state = parts_of(run_of("normalized"), "first.pt")["model"]
    lengths = {name: float(move.norm()) for name, move in moves("normalized", state).items()}
    assert set(lengths.values()) - {0.0}
    assert all(length in (0.0, pytest.approx(LR, rel=1e-3)) for length in lengths.values()), lengths


def test_learning_rates_are_scaled(run_of):
    moved = moves("scales", parts_of(run_of("scales"))["model"])
    largest = {
        part: max(float(move.abs().max()) for name, move in moved.items() if name.startswith(part))
        for part in ("encoder", "decoder", "head")
    }
    rate = 1.5e-3
    # 8 steps of AdamW move some value by about the rate each.
    assert largest["encoder"] < 20 * rate * 1e-6
    assert 0.5 * rate * 0.01 < largest["decoder"] < 20 * rate * 0.01
    assert 0.5 * rate < largest["head"] < 20 * rate


def test_clipping_shortens_the_step_and_keeps_its_direction(run_of):
    limited, free = (
        torch.cat([move.flatten() for move in moves(case, parts_of(run_of(case), "first.pt")["model"]).values()])
        for case in ("clip", "no_clip")
    )
    assert float(limited.norm()) == pytest.approx(LR * 0.001, rel=1e-2)
    assert float(free.norm()) > 100 * float(limited.norm())
    assert float(torch.cosine_similarity(limited.double(), free.double(), dim=0)) > 0.99


@pytest.mark.parametrize(("saved", "asked"), [(1, 3), (3, 1), (1, 1)])
def test_a_network_grows_from_one_with_other_channels(saved, asked, tmp_path):
    torch.manual_seed(1)
    smaller = saltzoo.create_model("unet", in_chans=saved, **TINY)
    smaller.preprocess = Preprocess(mean=(0.3,) * saved, std=(0.2,) * saved)
    saltzoo.save_pretrained(smaller, tmp_path, license="other")
    options = {**TINY, "in_chans": asked, "attention": "scse"}
    model = {"name": "unet", "options": options, "grow_from": f"local-dir:{tmp_path}"}
    table = {"model": model, "epochs": 1, "batch_size": 16, "split": "coverage"}
    recipe = Recipe.from_dict({**table, "average": {"kind": "none"}})
    trainer = Trainer(recipe, TILES)
    assert trainer.model.preprocess == Preprocess(mean=(0.3,) * asked, std=(0.2,) * asked)
    ours, theirs = (saltzoo.predict(net, TILES.images[:4]) for net in (trainer.model, smaller))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert math.isfinite(trainer.epoch(0))


@pytest.mark.parametrize("name", ["log.csv", "predictions.png", "model"])
def test_a_new_run_replaces_no_file_of_another_origin(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=rf"{name} .*: move it, or choose another folder"):
        check_folder(tmp_path, resume=False)
    (tmp_path / "last.pt").touch()
    check_folder(tmp_path, resume=True)
