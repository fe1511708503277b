"""Folds by id depend on the id alone; stratified folds are even within each coverage class."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltzoo.data.folder import picture_of
from saltzoo.data.folds import coverage_classes, folds_by_id, stratified_folds

# Half of real tiles are empty and classes may be rare: few values, so that both occur.
fractions = st.one_of(st.sampled_from([0.0, 0.05, 0.1, 0.95, 1.0]), st.floats(0, 1))
coverages = st.lists(fractions, min_size=2, max_size=60)
names = st.lists(st.text("01ab:_é", max_size=6), min_size=1, max_size=20)


# Folds by id


def test_folds_by_id_never_change():
    """Checkpoints name their fold: a change here would make them validate on tiles that they were trained on."""
    ids = ["000e218f21", "synthetic_0_000017", ""]
    for seed, texts in {0: ids, 7: [f"7:{id_}" for id_ in ids]}.items():
        expected = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 4 for text in texts]
        assert folds_by_id(ids, n_folds=4, seed=seed).tolist() == expected
    assert folds_by_id(ids).tolist() == [2, 4, 0]


@given(names, st.randoms(use_true_random=False), st.integers(2, 9), st.integers(0, 99))
def test_the_fold_of_a_tile_depends_on_its_id_alone(ids, random, n_folds, seed):
    together = dict(zip(ids, folds_by_id(ids, n_folds=n_folds, seed=seed).tolist(), strict=True))
    shuffled = random.sample(ids, random.randint(0, len(ids)))
    folds = folds_by_id(shuffled, n_folds=n_folds, seed=seed)
    assert folds.dtype == np.int64
    assert folds.tolist() == [together[id_] for id_ in shuffled]
    assert set(together.values()) <= set(range(n_folds))


def test_folds_by_id_are_about_even():
    ids = [f"synthetic_0_{index:06d}" for index in range(4000)]
    for seed in (0, 1):
        counts = np.bincount(folds_by_id(ids, seed=seed), minlength=5)
        assert np.abs(counts - 800).max() < 100  # 4 standard deviations
    assert (folds_by_id(ids) != folds_by_id(ids, seed=1)).mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ids": "000e218f21"}, TypeError, r"ids must be a sequence of strings, got '000e218f21': give Tiles\.ids"),
        ({"ids": [1, 2]}, TypeError, r"ids must be a sequence of strings, got \[1, 2\]"),
        ({"ids": ["a"], "n_folds": 1}, ValueError, "n_folds must be at least 2, got 1"),
        ({"ids": ["a"], "seed": -1}, ValueError, "seed must be 0 or more, got -1"),
    ],
)
def test_folds_by_id_check_their_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        folds_by_id(**arguments)


# Stratified folds


@given(coverages)
def test_classes_are_tenths(coverage):
    for value, k in zip(coverage, coverage_classes(coverage).tolist(), strict=True):
        assert k == 0 if value == 0 else (k - 1) / 10 < value <= k / 10


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_whole_tenth_is_in_the_lower_class_in_every_precision(dtype):
    tenths = (np.arange(11) / 10).astype(dtype)
    assert coverage_classes(tenths).tolist() == list(range(11))
    above = np.nextafter(tenths[:-1], dtype(1))
    assert coverage_classes(above).tolist() == list(range(1, 11))


def test_integers_booleans_and_empty_lists_have_classes():
    assert coverage_classes([0, 1]).tolist() == [0, 10]
    assert coverage_classes([False, True]).tolist() == [0, 10]
    assert coverage_classes([]).shape == (0,)


@given(coverages, st.data())
def test_folds_are_even_within_each_class_and_overall(coverage, data):
    n_folds = data.draw(st.integers(2, len(coverage)))
    seed = data.draw(st.integers(0, 2**32))
    folds = stratified_folds(coverage, n_folds=n_folds, seed=seed)
    classes = coverage_classes(coverage)
    for chosen in (folds, *(folds[classes == k] for k in range(11))):
        counts = np.bincount(chosen, minlength=n_folds)
        assert len(counts) == n_folds
        assert counts.max() - counts.min() <= 1


@given(coverages, st.integers(0, 1000))
def test_the_same_seed_gives_the_same_folds(coverage, seed):
    first, second = (stratified_folds(coverage, n_folds=2, seed=seed) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_stratified_folds_never_change():
    """Published scores and checkpoints name a fold: a change here would validate them on their training tiles."""
    coverage = [0, 0, 0, 0, 0, 0.05, 0.05, 0.3, 0.3, 0.3, 0.55, 0.9]
    assert stratified_folds(coverage, n_folds=3, seed=7).tolist() == [2, 1, 0, 0, 1, 0, 2, 0, 2, 1, 1, 2]


def test_seeds_give_different_folds():
    coverage = np.repeat([0, 0.5], 50)
    by_seed = {tuple(stratified_folds(coverage, seed=seed)) for seed in range(10)}
    assert len(by_seed) == 10


def test_the_default_is_five_folds_of_seed_0():
    coverage = np.linspace(0, 1, 23)
    np.testing.assert_array_equal(stratified_folds(coverage), stratified_folds(coverage, n_folds=5, seed=0))


@pytest.mark.parametrize("value", [-0.01, 1.01, 55, float("nan"), float("inf")])
def test_coverage_outside_0_to_1_is_refused(value):
    with pytest.raises(ValueError, match=r"coverage must be in 0\.\.1, got .* at position 1"):
        stratified_folds([0.5, value])


def test_coverage_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"coverage must have shape \(N,\), got \(2, 3\)"):
        coverage_classes(np.zeros((2, 3)))


@pytest.mark.parametrize("n_folds", [-1, 0, 1, 4])
def test_a_wrong_number_of_folds_is_refused(n_folds):
    with pytest.raises(ValueError, match=rf"between 2 and the number of tiles \(3\), got {n_folds}"):
        stratified_folds([0, 0.5, 1], n_folds=n_folds)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        stratified_folds([0, 0.5, 1], n_folds=2, seed=-1)


# Few tiles


def test_no_tiles_have_no_folds():
    for folds in (folds_by_id([]), folds_by_id([], group=str.lower), stratified_folds([]), coverage_classes([])):
        assert folds.shape == (0,)
        assert folds.dtype == np.int64


def test_one_tile_has_a_fold_by_its_id_but_no_strata():
    assert folds_by_id(["a"]).shape == (1,)
    with pytest.raises(ValueError, match="needs two or more tiles, got 1: add tiles, or use folds_by_id"):
        stratified_folds([0.5])


@pytest.mark.parametrize("coverage", [0.0, 1.0])
def test_tiles_of_one_class_have_even_folds(coverage):
    assert np.bincount(stratified_folds([coverage] * 10)).tolist() == [2] * 5


def test_a_group_comes_into_one_fold():
    ids = [f"line{line}_r{row:06d}_c000000" for line in range(30) for row in (0, 101, 202)]
    folds = folds_by_id(ids, group=picture_of)
    assert (folds.reshape(30, 3) == folds[::3, None]).all()
    assert folds[::3].tolist() == folds_by_id([f"line{line}" for line in range(30)]).tolist()
    assert len(set(folds.tolist())) == 5


def test_an_iterator_of_ids_is_not_used_up():
    assert folds_by_id(iter(["a", "b"])).tolist() == folds_by_id(["a", "b"]).tolist()


def test_half_a_fold_is_refused():
    with pytest.raises(TypeError, match=r"n_folds must be a whole number, got 2\.5"):
        folds_by_id(["a", "b"], n_folds=2.5)
    with pytest.raises(TypeError, match="n_folds must be a whole number"):
        stratified_folds([0.0, 0.5, 1.0], n_folds=2.5)
