"""Resuming: the same tiles in any order, other tiles, sources that are gone, and more epochs."""

import csv
import json
import operator
import shutil
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

import saltzoo
from saltzoo.data import Augment, Tiles, synthetic_tiles
from saltzoo.training import Recipe, Trainer, artifacts, cross_validate, fit
from saltzoo.training.digests import TileDigests
from saltzoo.training.resume import SavedRun, check_folder

SMALL = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}
TILES = synthetic_tiles(20, seed=3, size=40)
UNLABELLED = synthetic_tiles(7, seed=4, size=40)
SHUFFLED = TILES.select(np.random.default_rng(0).permutation(20))
ALL_PASS = {"low": 0.5, "high": 0.5, "min_iou": 0.0, "empty_share": 0.0}


def recipe_of(**more):
    table = {"model": {"name": "unet", "options": SMALL}, "epochs": 2, "batch_size": 8}
    return Recipe.from_dict({**table, **more})


def run(out, tiles=TILES, *, recipe=None, **options):
    return fit(recipe or recipe_of(), tiles, out, **{"tell": lambda line: None, **options})


def stop(line):
    if line.startswith("epoch 1:"):
        raise KeyboardInterrupt


def stopped(out, tiles=TILES, **options):
    """Run one epoch."""
    with pytest.raises(KeyboardInterrupt):
        run(out, tiles, **{"tell": stop, **options})
    return out


def log_of(out):
    with open(out / "log.csv", newline="") as file:
        return [row[:3] for row in csv.reader(file)][1:]


def weights_of(out):
    return saltzoo.create_model(f"local-dir:{out / 'model'}").state_dict()


def assert_same_run(ours, theirs):
    assert log_of(ours) == log_of(theirs)
    wanted = weights_of(theirs)
    for name, tensor in weights_of(ours).items():
        assert torch.equal(tensor, wanted[name]), name


# The same tiles


@pytest.mark.slow
@pytest.mark.parametrize("split", ["id", "coverage"])
def test_the_order_of_the_tiles_has_no_influence_on_a_run_or_its_resumption(tmp_path, split):
    recipe = recipe_of(split=split)
    whole, shuffled = tmp_path / "whole", tmp_path / "shuffled"
    scores = run(whole, recipe=recipe)
    assert run(shuffled, SHUFFLED, recipe=recipe) == scores
    assert_same_run(shuffled, whole)
    resumed = stopped(tmp_path / "resumed", recipe=recipe)
    assert run(resumed, SHUFFLED, recipe=recipe, resume=True) == scores
    assert_same_run(resumed, whole)


@pytest.mark.parametrize("split", ["id", "coverage"])
def test_no_tile_of_the_validating_fold_is_trained_on(tmp_path, split, monkeypatch):
    seen, augment = set(), Augment.__call__

    def spy(self, images, masks, **options):
        seen.update((one * 255).round().byte().numpy().tobytes() for one in images)
        return augment(self, images, masks, **options)

    monkeypatch.setattr(Augment, "__call__", spy)
    recipe = recipe_of(split=split, batch_size=1)
    stopped(tmp_path, recipe=recipe)
    run(tmp_path, SHUFFLED, recipe=recipe, resume=True)
    held_out = recipe.split_tiles(TILES) == 0
    assert 0 < held_out.sum() < 20
    assert seen == {image.tobytes() for image in TILES.images[~held_out]}


def test_the_fold_of_each_tile_does_not_depend_on_the_order():
    order = np.random.default_rng(1).permutation(20)
    for split in ("id", "coverage"):
        recipe = recipe_of(split=split)
        np.testing.assert_array_equal(recipe.split_tiles(TILES.select(order)), recipe.split_tiles(TILES)[order])


@pytest.mark.slow
def test_cross_validation_resumes_with_tiles_in_another_order(tmp_path):
    recipe = recipe_of(folds=2, batch_size=4)
    whole = cross_validate(recipe, TILES, tmp_path, tell=lambda line: None)
    assert cross_validate(recipe, SHUFFLED, tmp_path, resume=True, tell=lambda line: None) == whole


# Other tiles


def changed(**columns):
    """Return the tiles with some arrays changed by functions."""
    return replace(TILES, **{name: change(getattr(TILES, name).copy()) for name, change in columns.items()})


def invert_first(values):
    values[0] = ~values[0]
    return values


FIRST = r"\(synthetic_3_000000\)"


@pytest.mark.parametrize(
    ("tiles", "words"),
    [
        (TILES.select(np.arange(1, 20)), rf"1 gone {FIRST}\. Resume it with the same tiles, or choose another folder"),
        (changed(images=invert_first), rf"1 with another image {FIRST}"),
        (changed(masks=invert_first), rf"1 with another mask {FIRST}"),
        (
            Tiles(("new", *TILES.ids[1:]), TILES.images, TILES.masks),
            rf"1 added \(new\); 1 gone {FIRST}",
        ),
        (
            replace(TILES, images=255 - TILES.images),
            r"20 with another image \(synthetic_3_000000, synthetic_3_000001, synthetic_3_000002, \.\.\.\)",
        ),
        (
            replace(TILES, ids=(TILES.ids[1], TILES.ids[0], *TILES.ids[2:])),
            "2 with another image .*2 with another mask",
        ),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_run_is_not_resumed_with_other_tiles(stopped_run, tiles, words, shuffle):
    state = (stopped_run / "last.pt").read_bytes()
    given = tiles.select(np.arange(len(tiles))[::-1]) if shuffle else tiles
    with pytest.raises(ValueError, match=f"the tiles are not those of the run in .*: .*{words}"):
        run(stopped_run, given, resume=True)
    assert (stopped_run / "last.pt").read_bytes() == state


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    return stopped(tmp_path_factory.mktemp("stopped"))


def test_a_corrected_mask_that_moves_folds_is_told(tmp_path):
    recipe = recipe_of(split="coverage")
    stopped(tmp_path, recipe=recipe)
    masks = TILES.masks.copy()
    masks[TILES.coverage.argmin()] = True
    other = replace(TILES, masks=masks)
    moved = int((recipe.split_tiles(other) != recipe.split_tiles(TILES)).sum())
    assert moved > 0
    with pytest.raises(ValueError, match=rf"1 with another mask \(.*; {moved} with another fold \("):
        run(tmp_path, other, recipe=recipe, resume=True)


def test_digests_see_a_pixel_and_a_depth():
    depths = np.arange(20, dtype=np.float32)
    tiles = replace(TILES, depths=depths)
    folds = np.zeros(20, dtype=np.int64)
    was = TileDigests.of(tiles, folds=folds, depths=True)
    assert was.changes(TileDigests.of(tiles.select(np.arange(20)[::-1]), folds=folds, depths=True)) == []
    for position in range(0, 1600, 97):
        images = TILES.images.copy()
        images.reshape(20, -1)[5, position] ^= 1
        now = TileDigests.of(replace(tiles, images=images), folds=folds, depths=True)
        assert was.changes(now) == [f"1 with another image ({TILES.ids[5]})"]
    now = TileDigests.of(replace(tiles, depths=depths + (depths == 3)), folds=folds, depths=True)
    assert was.changes(now) == [f"1 with another depth ({TILES.ids[3]})"]
    now = TileDigests.of(tiles, folds=folds + (depths == 3), depths=True)
    assert was.changes(now) == [f"1 with another fold ({TILES.ids[3]})"]


def test_a_state_that_does_not_say_which_tiles_validate_is_refused(tmp_path, stopped_run):
    shutil.copytree(stopped_run, tmp_path / "old")
    state = torch.load(tmp_path / "old" / "last.pt", weights_only=True)
    del state["preprocess"]
    torch.save(state, tmp_path / "old" / "last.pt")
    with pytest.raises(ValueError, match="as an earlier version of saltzoo wrote it: resume the run with that version"):
        run(tmp_path / "old", resume=True)


# Sources that are gone


def save_start(folder, *, seed=1):
    torch.manual_seed(seed)
    model = saltzoo.create_model("unet", **SMALL)
    model.preprocess = replace(model.preprocess, mean=(0.4,), std=(0.3,))
    held_out = TILES.select(recipe_of().split_tiles(TILES) == 0)
    metric = {"data": "tiles", "fold": "0 of 5", "held_out": held_out.fingerprint}
    saltzoo.save_pretrained(model, folder, metrics=[{"name": "salt_map", "value": 0.5, **metric}])
    return f"local-dir:{folder}"


@pytest.mark.slow
@pytest.mark.parametrize("average", ["ema", "none"])
def test_a_run_resumes_without_the_weights_that_it_grew_from(tmp_path, average):
    start = save_start(tmp_path / "start")
    options = {"name": "unet", "options": {**SMALL, "attention": "scse"}, "grow_from": start}
    recipe = recipe_of(model=options, average={"kind": average})
    run(tmp_path / "whole", recipe=recipe)
    stopped(tmp_path / "run", recipe=recipe)
    shutil.rmtree(tmp_path / "start")
    run(tmp_path / "run", recipe=recipe, resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert saltzoo.create_model(f"local-dir:{tmp_path / 'run' / 'model'}").preprocess.mean == (0.4,)


def test_a_run_resumes_without_the_file_of_its_encoder(tmp_path):
    torch.manual_seed(5)
    torch.save(timm.create_model("test_resnet", in_chans=3).state_dict(), tmp_path / "encoder.pth")
    model = {"name": "unet", "options": SMALL, "pretrained_encoder": str(tmp_path / "encoder.pth")}
    recipe = recipe_of(model=model)
    run(tmp_path / "whole", recipe=recipe)
    stopped(tmp_path / "run", recipe=recipe)
    (tmp_path / "encoder.pth").unlink()
    run(tmp_path / "run", recipe=recipe, resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.fixture
def student(tmp_path):
    """Return the recipe of a student that grew from its teacher, and the folder of its run, stopped after an epoch."""
    teacher = save_start(tmp_path / "teacher")
    model = {"name": "unet", "options": SMALL, "grow_from": teacher}
    recipe = recipe_of(model=model, student={"teachers": [teacher], **ALL_PASS})
    run(tmp_path / "whole", recipe=recipe, unlabelled=UNLABELLED)
    stopped(tmp_path / "run", recipe=recipe, unlabelled=UNLABELLED)
    return recipe, tmp_path


def test_a_student_resumes_without_its_teacher(student):
    recipe, folder = student
    shutil.rmtree(folder / "teacher")
    again = UNLABELLED.select(np.arange(len(UNLABELLED))[::-1])
    run(folder / "run", SHUFFLED, recipe=recipe, unlabelled=again, resume=True)
    assert_same_run(folder / "run", folder / "whole")


def test_lost_or_damaged_pseudo_labels_are_made_again_by_the_teacher(student):
    recipe, folder = student
    (folder / "run" / "pseudo_labels.bin").write_bytes(b"damaged")
    run(folder / "run", recipe=recipe, unlabelled=UNLABELLED, resume=True)
    assert_same_run(folder / "run", folder / "whole")
    assert (folder / "run" / "pseudo_labels.bin").read_bytes() == (folder / "whole" / "pseudo_labels.bin").read_bytes()
    shutil.rmtree(folder / "teacher")
    (folder / "run" / "pseudo_labels.bin").unlink()
    with pytest.raises(OSError, match=r"no checkpoint at .*teacher"):
        run(folder / "run", recipe=recipe, unlabelled=UNLABELLED, resume=True)


def test_pseudo_labels_of_another_run_are_not_taken(student):
    recipe, folder = student
    stored = folder / "run" / "pseudo_labels.bin"
    names, _, masks = stored.read_bytes().partition(b"\n")
    stored.write_bytes(names + b"\n" + bytes(255 - byte for byte in masks))
    run(folder / "run", recipe=recipe, unlabelled=UNLABELLED, resume=True)
    assert_same_run(folder / "run", folder / "whole")


# More epochs


@pytest.mark.slow
def test_more_epochs_are_one_more_cycle_of_the_rate(tmp_path, monkeypatch):
    rates, step = [], Trainer._step

    def spy(self, x, y):
        rates.append(self.optimizer.param_groups[0]["lr"] / 1.5e-3)
        return step(self, x, y)

    monkeypatch.setattr(Trainer, "_step", spy)
    average = {"kind": "ema", "reestimate_batch_norm": True}
    short, whole, out = recipe_of(average=average), tmp_path / "whole", tmp_path / "run"
    run(whole, recipe=recipe_of(average=average, epochs=5, rate={"restarts": [2]}))
    unbroken, steps = rates.copy(), len(rates) // 5
    assert unbroken[2 * steps] == 1
    after = [0.5 + 0.5 * np.cos(np.pi * done / (3 * steps)) for done in range(3 * steps)]
    np.testing.assert_allclose(unbroken[2 * steps :], after, atol=1e-12)

    rates.clear()
    run(out, recipe=short)
    assert rates == unbroken[: 2 * steps]
    with pytest.raises(KeyboardInterrupt):
        run(out, recipe=replace(short, epochs=5), resume=True, tell=lambda line: stop(line.replace("4:", "1:")))
    run(out, recipe=replace(short, epochs=5), resume=True)
    assert rates == unbroken
    assert_same_run(out, whole)
    recipe = json.loads((out / "model" / "config.json").read_text())["recipe"]
    assert (recipe["epochs"], recipe["rate"]["restarts"]) == (5, [2])

    with pytest.raises(ValueError, match=r"has recipe\.epochs 5 and not 2: resume it with the same"):
        run(out, recipe=short, resume=True)
    run(out, recipe=replace(short, epochs=6), resume=True)
    recipe = json.loads((out / "model" / "config.json").read_text())["recipe"]
    assert (recipe["epochs"], recipe["rate"]["restarts"]) == (6, [2, 5])


def test_a_stopped_run_ends_its_schedule_before_more_epochs(tmp_path):
    stopped(tmp_path / "run")
    run(tmp_path / "run", recipe=recipe_of(epochs=3), resume=True)
    run(tmp_path / "whole", recipe=recipe_of(epochs=3, rate={"restarts": [2]}))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_stochastic_average_is_not_continued_with_more_epochs(tmp_path):
    recipe = recipe_of(average={"kind": "swa", "start": 0.0})
    run(tmp_path, recipe=recipe)
    with pytest.raises(ValueError, match=r'average.kind="swa" has no restarts and no more epochs: .*model.grow_from'):
        run(tmp_path, recipe=replace(recipe, epochs=4), resume=True)


@pytest.mark.parametrize(
    ("restarts", "words"),
    [
        ([2], r"rate.restarts must be below epochs=2, got \[2\]"),
        ([1, 1], "rate.restarts must be increasing numbers of epochs"),
        ([0], "rate.restarts must be at least 1, got 0"),
    ],
)
def test_impossible_restarts_raise(restarts, words):
    with pytest.raises(ValueError, match=words):
        recipe_of(rate={"restarts": restarts})


def test_a_kill_between_the_state_and_the_checkpoint_loses_nothing(tmp_path, monkeypatch):
    run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("saltzoo.training.artifacts.save_pretrained", lambda *given, **named: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    run(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    shutil.rmtree(tmp_path / "run" / "model")  # the state has all of it
    run(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("place", ["save_pretrained", "draw.save_png"])
def test_ctrl_c_among_the_files_leaves_the_state_and_the_checkpoint_of_one_epoch(tmp_path, monkeypatch, place):
    original = operator.attrgetter(place)(artifacts)
    calls = []

    def interrupted(*given, **named):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return original(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(f"saltzoo.training.artifacts.{place}", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert len(log_of(tmp_path)) == 1
    average = torch.load(tmp_path / "last.pt", weights_only=True)["parts"]["average"]
    for name, tensor in weights_of(tmp_path).items():
        assert torch.equal(tensor, average[f"module.{name}"]), name


@pytest.mark.parametrize("content", [b"", b"garbage", "other"])
def test_a_damaged_state_is_refused(tmp_path, content):
    if content == "other":
        torch.save({"a": 1}, tmp_path / "last.pt")
    else:
        (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.pt is (damaged, or )?no state of a run.*choose another folder"):
        SavedRun.read(tmp_path, torch.device("cpu"))


@pytest.mark.parametrize("name", ["pseudo_labels.bin", ".last.pt.4711.part", "snapshot_3"])
def test_files_of_another_origin_are_not_replaced(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f"{name} belongs to no run that could be resumed: move it"):
        check_folder(tmp_path, resume=False)
