"""Cleaning of masks against a search by hand, and the search for its options against all pairs."""

import builtins
import sys
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from saltzoo.inference import clean, search_clean
from saltzoo.metrics import salt_map, search_threshold

pytest.importorskip("scipy")

SIDES = [(-1, 0), (1, 0), (0, -1), (0, 1)]
CORNERS = [(-1, -1), (-1, 1), (1, -1), (1, 1)]


def patches(region, connectivity):
    """Yield the set of pixels of each patch, found by walking from pixel to pixel."""
    left = set(zip(*np.nonzero(region), strict=True))
    while left:
        patch, new = set(), {min(left)}
        while new:
            patch |= new
            new = {
                (row + down, column + right)
                for row, column in new
                for down, right in (SIDES if connectivity == 1 else SIDES + CORNERS)
            } & (left - patch)
        left -= patch
        yield patch


def cleaned(mask, min_size, fill_holes, connectivity):
    mask = mask.copy()
    for patch in patches(mask, connectivity):
        if len(patch) < min_size:
            mask[tuple(zip(*patch, strict=True))] = False
    height, width = mask.shape
    for hole in patches(~mask, 3 - connectivity):
        enclosed = all(0 < row < height - 1 and 0 < column < width - 1 for row, column in hole)
        if enclosed and len(hole) < fill_holes:
            mask[tuple(zip(*hole, strict=True))] = True
    return mask


masks = arrays.arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))


@given(masks, st.integers(0, 9), st.integers(0, 9), st.sampled_from([1, 2]))
@settings(max_examples=150, deadline=None)
def test_it_is_the_search_by_hand(mask, min_size, fill_holes, connectivity):
    options = {"min_size": min_size, "fill_holes": fill_holes, "connectivity": connectivity}
    want = np.stack([cleaned(one, **options) for one in mask])
    assert np.array_equal(clean(mask, **options), want)
    assert np.array_equal(clean(mask[0], **options), want[0])  # one picture alone
    again = clean(torch.from_numpy(mask.astype(np.uint8) * 255), **options)
    assert again.dtype == torch.uint8
    assert np.array_equal(again.numpy(), want * 255)


def test_a_ring_of_corners_is_closed_for_eight_neighbours_only():
    ring = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.int64)
    assert clean(ring, fill_holes=2, connectivity=1)[1, 1] == 0  # background leaks through the corners
    assert clean(ring, fill_holes=2, connectivity=2)[1, 1] == 1
    assert clean(ring, min_size=2, connectivity=1).sum() == 0
    assert clean(ring, min_size=2, connectivity=2).sum() == 4


def test_nothing_is_done_by_default_and_the_mask_is_not_changed():
    mask = np.random.default_rng(0).random((2, 20, 20)) > 0.5
    before = mask.copy()
    assert np.array_equal(clean(mask), before)
    assert not np.array_equal(clean(mask, min_size=5, fill_holes=5), before)
    assert np.array_equal(mask, before)
    for empty in (np.zeros((0, 4, 4), bool), np.zeros((1, 0, 4), bool), np.zeros((3, 4), np.int16)):
        assert np.array_equal(clean(empty, min_size=3, fill_holes=3), empty)
        assert clean(empty, min_size=3).dtype == empty.dtype


@pytest.mark.parametrize(
    ("mask", "options", "error", "words"),
    [
        (np.zeros((4, 4)), {}, TypeError, "mask must be an array of bool or integer, got float64: threshold"),
        (torch.zeros(4, 4), {}, TypeError, "got float32: threshold probabilities first"),
        ([[0, 1]], {}, TypeError, "got list"),
        (np.zeros((1, 1, 4, 4), bool), {}, ValueError, r"must be \(H, W\) or \(N, H, W\), got \(1, 1, 4, 4\)"),
        (np.arange(4).reshape(2, 2), {}, ValueError, r"0 and one value above 0, got \[0, 1, 2, 3\]: give one class"),
        (
            np.zeros((4, 4), bool),
            {"min_size": -1},
            ValueError,
            "min_size must be a number of pixels, 0 or more, got -1",
        ),
        (np.zeros((4, 4), bool), {"fill_holes": 0.5}, ValueError, "fill_holes must be a number of pixels"),
        (np.zeros((4, 4), bool), {"connectivity": 4}, ValueError, "unknown connectivity 4: choose one of 1, 2"),
    ],
)
def test_wrong_input_is_refused(mask, options, error, words):
    with pytest.raises(error, match=words):
        clean(mask, **options)


def test_without_scipy_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *args):
        if name.split(".")[0] == "scipy":
            raise ModuleNotFoundError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.delitem(sys.modules, "scipy", raising=False)
    with pytest.raises(ImportError, match=r'pip install "saltzoo\[clean\]"'):
        clean(np.ones((4, 4), bool), min_size=2)


@pytest.fixture
def predicted():
    """Probabilities with specks, and their truth."""
    generator = np.random.default_rng(4)
    truth = np.zeros((12, 16, 16), bool)
    truth[:8, 4:12, 3:13] = True
    p = truth * 0.25 + generator.random(truth.shape) * 0.45
    return p.astype(np.float32), truth


def test_the_search_finds_the_best_of_all_pairs(predicted):
    p, truth = predicted
    thresholds, sizes = [0.2, 0.3, 0.35, 0.4, 0.45, 0.6], (0, 2, 4, 8)
    found = search_clean(p, truth, thresholds=thresholds, min_sizes=sizes, keep=6)
    scores = {
        (threshold, size): salt_map(clean(p > np.float32(threshold), min_size=size), truth).item()
        for threshold, size in product(thresholds, sizes)
    }
    assert found.score == max(scores.values())
    assert scores[found.threshold, found.min_size] == found.score
    assert found.thresholds == tuple(thresholds)
    want = [[scores[threshold, size] for size in sizes] for threshold in thresholds]
    assert np.allclose(found.scores, want, rtol=0, atol=1e-7)
    assert found.score > search_threshold(p, truth, thresholds=thresholds).score + 0.05  # removal is worth something


def test_without_removal_it_is_the_search_for_a_threshold(predicted):
    p, truth = predicted
    plain = search_threshold(p, truth)
    for images in (p, torch.from_numpy(p), p[:, None]):
        found = search_clean(images, truth if images.ndim == 3 else truth[:, None], min_sizes=(0,), keep=1)
        assert (found.threshold, found.min_size) == (plain.threshold, 0)
        assert found.score == pytest.approx(plain.score, abs=1e-7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_sizes": ()}, "min_sizes must be increasing"),
        ({"min_sizes": (4, 2)}, "min_sizes must be increasing"),
        ({"min_sizes": (-1, 2)}, "min_sizes must be increasing"),
        ({"keep": 0}, "keep must be at least 1, got 0"),
        ({"connectivity": 8}, "unknown connectivity 8"),
    ],
)
def test_wrong_options_of_the_search_are_refused(predicted, options, words):
    with pytest.raises(ValueError, match=words):
        search_clean(*predicted, **options)
