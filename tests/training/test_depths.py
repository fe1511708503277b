"""Networks that read the depth of a tile: from tiles to training to the saved checkpoint."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo.data import folds_by_id, synthetic_tiles
from saltzoo.preprocess import Preprocess
from saltzoo.training import Recipe, Trainer, cross_validate, fit
from saltzoo.training.scalars import predict_tiles, reads_scalar

SCALAR = {"in_chans": 2, "scalar_channel": "bottleneck", "base_channels": 2, "drop_rate": 0.0}
BARE = synthetic_tiles(12, seed=3, size=40)
TILES = replace(BARE, depths=np.linspace(50, 950, 12).astype(np.float32))
TRAINING = folds_by_id(BARE.ids, n_folds=2) != 0
CPU = torch.device("cpu")


def recipe_of(options=SCALAR, **more):
    table = {"model": {"name": "resunet_101", "options": options}, "epochs": 1, "batch_size": 2, "folds": 2}
    return Recipe.from_dict({**table, **more})


def run(tiles, out, **options):
    return fit(recipe_of(), tiles, out, **{"tell": lambda line: None, **options})


@pytest.fixture
def inputs(monkeypatch):
    """Record what the network gets in each step: channels N C H W, after preprocessing."""
    seen, step = [], Trainer._step

    def spy(self, x, y):
        seen.append(self.model.preprocess(x).clone())
        return step(self, x, y)

    monkeypatch.setattr(Trainer, "_step", spy)
    return seen


def test_each_tile_is_trained_with_its_own_depth(inputs):
    plain = {"flip": 0.0, "affine": 0.0, "photometric": 0.0}
    trainer = Trainer(recipe_of(augment=plain), TILES)
    trainer.epoch(0)
    normal = (TILES.depths - TILES.depths.mean()) / TILES.depths.std()
    got = torch.cat(inputs)
    assert len(got) == 12
    images = (torch.from_numpy(TILES.images).float() / 255 - 0.47) / 0.16
    for image, plane in got:
        position = int((images - image).abs().amax((1, 2)).argmin())
        torch.testing.assert_close(image, images[position])
        torch.testing.assert_close(plane, torch.full_like(plane, float(normal[position])))
    depths = sorted({round(float(plane[0, 0]), 3) for _, plane in got})
    assert len(depths) == 12


def test_a_checkpoint_has_the_statistics_of_the_training_depths(tmp_path):
    scores = run(TILES, tmp_path)
    depths = TILES.depths[TRAINING].astype(np.float64)
    model = saltzoo.create_model(f"local-dir:{tmp_path / 'model'}")
    assert reads_scalar(model)
    assert model.preprocess.mean == (0.47, pytest.approx(depths.mean()))
    assert model.preprocess.std == (0.16, pytest.approx(depths.std()))
    # The score is that of predictions with depths.
    held_out = TILES.select(~TRAINING)
    masks = predict_tiles(model, held_out, CPU) > 0.5
    assert scores["salt_map"] == pytest.approx(float(saltzoo.metrics.salt_map(masks, held_out.masks)))


def randomised():
    """Return a model whose scalar matters, with statistics of its own."""
    torch.manual_seed(2)
    model = saltzoo.create_model("resunet_101", **SCALAR).eval()
    model.preprocess = Preprocess(scalar=True, mean=(0.4, 300.0), std=(0.2, 20.0))
    return model


def test_predictions_are_those_of_raw_depths_in_the_last_channel():
    model = randomised()
    images = torch.from_numpy(TILES.images)[:, None].float() / 255
    with torch.no_grad():
        want = model(model.preprocess(model.preprocess.assemble(images, torch.from_numpy(TILES.depths)))).sigmoid()[
            :, 0
        ]
        other = model(model.preprocess(model.preprocess.assemble(images, torch.from_numpy(TILES.depths[::-1].copy()))))
    torch.testing.assert_close(predict_tiles(model, TILES, CPU), want, atol=1e-5, rtol=1e-4)
    assert (other.sigmoid()[:, 0] - want).abs().max() > 1e-3
    one = TILES.select([3])  # no span of depths
    torch.testing.assert_close(predict_tiles(model, one, CPU), want[3:4], atol=1e-5, rtol=1e-4)
    assert model.preprocess == Preprocess(scalar=True, mean=(0.4, 300.0), std=(0.2, 20.0))
    mirrored = replace(TILES, images=TILES.images[..., ::-1].copy())
    both = (want + predict_tiles(model, mirrored, CPU).flip(-1)) / 2
    torch.testing.assert_close(predict_tiles(model, TILES, CPU, tta="hflip"), both, atol=1e-5, rtol=1e-4)


def test_depths_move_the_weights():
    weights = []
    for depths in (TILES.depths, TILES.depths, TILES.depths[::-1].copy()):
        trainer = Trainer(recipe_of(), replace(TILES, depths=depths))
        trainer.epoch(0)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_model_that_reads_no_scalar_needs_no_depths():
    options = {**SCALAR, "scalar_channel": "none"}
    bare, deep = (Trainer(recipe_of(options), tiles) for tiles in (BARE, TILES))
    assert bare.epoch(0) == deep.epoch(0)
    assert bare.model.preprocess == Preprocess.gray(2)


def with_depth(value):
    depths = TILES.depths.copy()
    depths[[2, 7]] = value
    return replace(TILES, depths=depths)


@pytest.mark.parametrize(
    ("tiles", "words"),
    [
        (BARE, r"tiles must have depths for a model with scalar_channel, got none: give Tiles\(\.\.\., depths"),
        (with_depth(np.nan), r"depths of \w+ tiles must be finite .* \(the first: nan of 'synthetic_3_00000\d'\)"),
        (
            replace(TILES, depths=np.where(TRAINING, TILES.depths, np.nan).astype(np.float32)),
            "depths of validation tiles must be finite",
        ),
    ],
)
@pytest.mark.parametrize("train", [fit, cross_validate])
def test_missing_depths_are_refused_before_training(tmp_path, tiles, words, train):
    if train is cross_validate:
        words = words.replace("validation", r"\w+")
    told = []
    with pytest.raises(ValueError, match=words):
        train(recipe_of(), tiles, tmp_path, tell=told.append)
    assert not [line for line in told if line.startswith("epoch")]
    assert not list(tmp_path.rglob("last.pt"))


def test_tiles_of_one_depth_are_trained(tmp_path):
    run(replace(TILES, depths=np.full(12, 300, dtype=np.float32)), tmp_path)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["preprocess"]["mean"][1], config["preprocess"]["std"][1]) == (300, 1)


@pytest.mark.slow
def test_a_run_with_depths_resumes_and_refuses_another_depth(tmp_path):
    recipe = recipe_of(epochs=2)

    def stop(line):
        if line.startswith("epoch 1:"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recipe, TILES, tmp_path / "run", tell=stop)
    other = replace(TILES, depths=TILES.depths + (TILES.depths == TILES.depths[4]))
    with pytest.raises(ValueError, match=r"1 with another depth \(synthetic_3_000004\)"):
        fit(recipe, other, tmp_path / "run", tell=stop, resume=True)
    quiet = {"tell": lambda line: None}
    resumed = fit(recipe, TILES.select(np.arange(12)[::-1]), tmp_path / "run", resume=True, **quiet)
    assert resumed == fit(recipe, TILES, tmp_path / "whole", **quiet)
    ours, theirs = (saltzoo.create_model(f"local-dir:{tmp_path / name / 'model'}") for name in ("run", "whole"))
    assert ours.preprocess == theirs.preprocess
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_teacher_and_student_read_the_depths_of_unlabelled_tiles(tmp_path):
    model = randomised()
    with torch.no_grad():
        model.head.conv.weight *= 30
    teacher = f"local-dir:{saltzoo.save_pretrained(model, tmp_path / 'teacher')}"
    taught = {"teachers": [teacher], "low": 0.5, "high": 0.5, "min_iou": 0.0, "empty_share": 0.0, "tta": "none"}
    recipe = recipe_of(student=taught)
    extra = synthetic_tiles(6, seed=4, size=40)
    with pytest.raises(ValueError, match=r"unlabelled tiles for teacher .* must have depths"):
        fit(recipe, TILES, tmp_path / "run", unlabelled=extra, tell=lambda line: None)
    deep = replace(extra, depths=np.linspace(200, 400, 6).astype(np.float32))
    fit(recipe, TILES, tmp_path / "run", unlabelled=deep, tell=lambda line: None)
    line, _, packed = (tmp_path / "run" / "pseudo_labels.bin").read_bytes().partition(b"\n")
    ids, masks = json.loads(line), np.unpackbits(np.frombuffer(packed, np.uint8)).astype(bool).reshape(-1, 1600)
    want = dict(zip(deep.ids, (predict_tiles(model, deep, CPU) > 0.5).flatten(1).numpy(), strict=True))
    assert ids
    for name, mask in zip(ids, masks, strict=True):
        assert (mask == want[name]).mean() > 0.99
