"""Weights and tiles that must not teach a run: those of another fold, or of unknown origin."""

import pytest
from _student_runs import HELD_OUT, TILES, UNLABELLED, recipe_of, run, save_teacher, stop_at_first_but

import saltzoo
from saltzoo.data import synthetic_tiles


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher") / "model")


@pytest.mark.parametrize("role", ["a teacher", "model.grow_from"])
@pytest.mark.parametrize("fold", ["1 of 5", "0 of 10"])
def test_weights_of_another_fold_raise(tmp_path, teacher, role, fold):
    other = save_teacher(tmp_path / "other", fold=fold)
    recipe = recipe_of(teacher, other) if role == "a teacher" else recipe_of(teacher, model={"grow_from": other})
    words = (
        rf"other', {role}, was trained without fold {fold} of 'tiles', so it has seen validation tiles of this run "
        r"\(fold 0 of 5\), .*"
        rf"Give weights that were trained without fold 0 of 5, or validate fold {fold}"
    )
    with pytest.raises(ValueError, match=words):
        run(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_the_same_fold_of_other_tiles_raise(tmp_path):
    """Fold 0 of a larger set of tiles holds other tiles."""
    other = save_teacher(tmp_path / "other", held_out="160 tiles, ids 00c0ffee")
    words = rf"160 tiles, ids 00c0ffee of 'tiles', so it has seen validation tiles of this run \({HELD_OUT[0]}\)"
    with pytest.raises(ValueError, match=words):
        run(recipe_of(other), tmp_path / "run")


@pytest.mark.parametrize(
    "told_of",
    [{}, {"data": "other tiles", "fold": "1 of 5", "held_out": HELD_OUT[1]}, {"data": "tiles", "fold": "0 of 5"}],
    ids=["nothing", "other-data", "fold-without-its-tiles"],
)
def test_weights_whose_card_does_not_say_what_was_held_out_are_reported(tmp_path, teacher, told_of):
    metrics = [{"name": "salt_map", "value": 0.5, **told_of}]
    saltzoo.save_pretrained(saltzoo.create_model(teacher), tmp_path / "bare", metrics=metrics)
    recipe = recipe_of(teacher, f"local-dir:{tmp_path / 'bare'}")
    words = r"bare', a teacher, does not say in its card which tiles of 'tiles' it has not seen"
    with pytest.raises(KeyboardInterrupt, match=words):
        run(recipe, tmp_path / "run", tell=stop_at_first_but("amp:"))
    with pytest.raises(KeyboardInterrupt, match=r"^pseudo-labels: "):
        run(recipe_of(teacher), tmp_path / "run", tell=stop_at_first_but("amp:"))


def test_weights_of_synthetic_tiles_alone_have_seen_no_real_tile(tmp_path, teacher):
    metrics = [
        {"name": "salt_map", "value": 0.5, "data": "20 synthetic tiles of saltzoo", "held_out": "4 tiles, ids 00c0ffee"}
    ]
    recipe = {"model": {"name": "saltnet_s"}}
    network = saltzoo.create_model(teacher)
    saltzoo.save_pretrained(network, tmp_path / "synthetic", metrics=metrics, recipe=recipe)
    with pytest.raises(KeyboardInterrupt, match=r"^pseudo-labels: "):
        run(recipe_of(f"local-dir:{tmp_path / 'synthetic'}"), tmp_path / "run", tell=stop_at_first_but("amp:"))


@pytest.mark.parametrize(
    ("taught", "unlabelled", "words"),
    [
        (True, None, r"the recipe's student needs unlabelled tiles: give fit\(\.\.\., unlabelled=tiles\)"),
        (True, synthetic_tiles(0, size=40), "needs unlabelled tiles"),
        (False, UNLABELLED, "the recipe has no student that would use the unlabelled tiles"),
        (
            True,
            synthetic_tiles(2, seed=4, size=41),
            "unlabelled and labelled tiles must have one size, got 41 x 41 and 40 x 40 pixels",
        ),
        (True, TILES.select([3, 4]), r"2 of the unlabelled tiles have ids of labelled ones \(the first: synth.*03\)"),
    ],
)
def test_unsuitable_unlabelled_tiles_raise(tmp_path, teacher, taught, unlabelled, words):
    with pytest.raises(ValueError, match=words):
        run(recipe_of(teacher) if taught else recipe_of(), tmp_path / "run", unlabelled=unlabelled)
    assert not (tmp_path / "run").exists()
