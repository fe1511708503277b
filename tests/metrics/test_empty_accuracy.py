"""Accuracy of empty predictions against counted images."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.metrics import EmptyAccuracy, empty_accuracy


@given(st.integers(0, 10**9), st.sampled_from([0, 0.5, 0.9]))
@settings(max_examples=20, deadline=None)
def test_counts_images(seed, ignored):
    rng = np.random.default_rng(seed)
    pred, target = rng.random((2, 8, 3, 3)) < rng.choice([0, 0.2], (2, 8, 1, 1))
    target = np.where(rng.random(target.shape) < ignored, 255, target)
    right = {True: [], False: []}
    for p, t in zip(pred, target, strict=True):
        keep = t != 255
        if keep.any():
            empty = not t[keep].any()
            right[empty].append(empty == (not p[keep].any()))
    want = [np.mean(x) if x else math.nan for x in (right[True] + right[False], right[True], right[False])]
    got = [x.item() for x in empty_accuracy(pred, target, ignore_index=255)]
    assert got == pytest.approx(want, nan_ok=True)
    if right[True] or right[False]:
        shares = EmptyAccuracy(ignore_index=255).update(pred, target).compute()
        assert shares == pytest.approx(tuple(want), nan_ok=True, rel=1e-15)
        assert all(isinstance(share, float) for share in shares)


def test_one_pixel_decides():
    truth = np.zeros((2, 101, 101), bool)
    pred = truth.copy()
    pred[1, 50, 50] = True
    shares = EmptyAccuracy().update(pred, truth).compute()
    assert (shares.accuracy, shares.empty) == (0.5, 0.5)
    assert math.isnan(shares.nonempty)
