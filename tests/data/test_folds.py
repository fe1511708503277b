import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltzoo.data.folds import coverage_classes, stratified_folds

# Half of real tiles are empty and classes may be rare: drawn from few values, so that both happen.
fractions = st.one_of(st.sampled_from([0.0, 0.05, 0.1, 0.95, 1.0]), st.floats(0, 1))
coverages = st.lists(fractions, min_size=2, max_size=60)


@given(coverages)
def test_classes_are_tenths(coverage):
    for value, k in zip(coverage, coverage_classes(coverage).tolist(), strict=True):
        assert k == 0 if value == 0 else (k - 1) / 10 < value <= k / 10


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_whole_tenth_belongs_below_in_every_precision(dtype):
    tenths = (np.arange(11) / 10).astype(dtype)
    assert coverage_classes(tenths).tolist() == list(range(11))
    above = np.nextafter(tenths[:-1], dtype(1))
    assert coverage_classes(above).tolist() == list(range(1, 11))


def test_whole_numbers_and_nothing_have_classes():
    assert coverage_classes([0, 1]).tolist() == [0, 10]
    assert coverage_classes([False, True]).tolist() == [0, 10]
    assert coverage_classes([]).shape == (0,)


@given(coverages, st.data())
def test_folds_are_even_within_each_class_and_in_all(coverage, data):
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


def test_folds_never_change():
    """Published scores and checkpoints name a fold: a change here makes them leak validation tiles."""
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
def test_coverage_outside_0_to_1(value):
    with pytest.raises(ValueError, match=r"coverage must be in 0\.\.1, got .* at position 1"):
        stratified_folds([0.5, value])


def test_coverage_of_another_shape():
    with pytest.raises(ValueError, match=r"coverage must have shape \(N,\), got \(2, 3\)"):
        coverage_classes(np.zeros((2, 3)))


@pytest.mark.parametrize("n_folds", [-1, 0, 1, 4])
def test_a_wrong_number_of_folds(n_folds):
    with pytest.raises(ValueError, match=rf"between 2 and the number of tiles \(3\), got {n_folds}"):
        stratified_folds([0, 0.5, 1], n_folds=n_folds)


def test_a_negative_seed():
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        stratified_folds([0, 0.5, 1], n_folds=2, seed=-1)
