"""The benchmark of splits: which tiles touch a training tile, and how scores are compared."""

import statistics

import numpy as np
import pytest

from saltzoo.data import NeighbourPairs


def test_tiles_touch_another_fold_where_a_pair_has_two_folds(load_benchmark):
    touching = load_benchmark("splits").touching_other_folds
    ids, random = [f"t{k}" for k in range(40)], np.random.default_rng(0)
    first, second = random.permutation(40)[:30].reshape(2, 15)
    none = np.zeros(15, np.float32)
    pairs = NeighbourPairs(tuple(ids), first, second, none > 0, none, none + 1)
    folds = random.integers(0, 3, 40)
    want = {k for pair in zip(first.tolist(), second.tolist(), strict=True) for k in pair if len({*folds[[*pair]]}) > 1}
    assert 0 < len(want) < 30
    assert {*np.flatnonzero(touching(pairs, folds)).tolist()} == want


def test_the_difference_is_paired_by_tile(load_benchmark):
    by_id, by_mosaic = [0.9, 0.4, 1.0, 0.0], [0.8, 0.5, 0.7, 0.0]
    row = load_benchmark("splits").compared("all", np.array(by_id), np.array(by_mosaic))
    steps = [a - b for a, b in zip(by_id, by_mosaic, strict=True)]
    assert (row["tiles"], row["count"]) == ("all", 4)
    assert row["by_id"] - row["by_mosaic"] == pytest.approx(row["difference"], abs=1e-4)
    assert row["difference"] == pytest.approx(statistics.mean(steps), abs=1e-4)
    assert row["standard_error"] == pytest.approx(statistics.stdev(steps) / 2, abs=1e-4)
