"""Pseudo-labels agree with a plain loop over tiles and models, and keep the given fraction of empty masks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.training import agreement
from saltzoo.training.techniques import pseudo_labels


def some_probabilities(models=3, tiles=40, size=6, seed=0, noise=0.12):
    """Return probabilities for tiles with salt on one side or none: certain, uncertain, or contradictory."""
    random = np.random.default_rng(seed)
    border = random.integers(-size, size, tiles)
    truth = np.arange(size)[None, None, :] < border[:, None, None]
    certainty = random.choice([0.02, 0.1, 0.3], tiles)[None, :, None, None]
    p = np.where(truth[None], 1 - certainty, certainty) * np.ones((models, tiles, size, size))
    odd = random.random((models, tiles)) < 0.1
    p[odd] = 1 - p[odd]
    return np.clip(p + noise * (random.random(p.shape) - 0.5), 0, 1)


def by_loops(p, *, sure=0.9, low=0.2, high=0.8, min_iou=0.8):
    """Return the mask of each tile, whether it passes, and its score."""
    masks, passed, scores = [], [], []
    for tile in range(p.shape[1]):
        mean = sum(p[model, tile] for model in range(len(p))) / len(p)
        mask = mean > 0.5
        certain = sum(1 for value in mean.flat if value <= low or value >= high) / mean.size
        ious = []
        for model in range(len(p)):
            own = p[model, tile] > 0.5
            union = np.logical_or(own, mask).sum()
            ious.append(np.logical_and(own, mask).sum() / union if union else 1.0)
        masks.append(mask)
        passed.append(certain >= sure and np.mean(ious) >= min_iou)
        scores.append(certain * np.mean(ious))
    return np.array(masks), np.array(passed), np.array(scores)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "options", [{}, {"sure": 0.5, "min_iou": 0.4}, {"low": 0.05, "high": 0.7, "sure": 0.6}, {"min_iou": 1.0}]
)
@pytest.mark.parametrize("models", [1, 3])
def test_labels_equal_those_of_a_plain_loop(seed, options, models):
    p = some_probabilities(models=models, seed=seed)
    masks, passed, scores = by_loops(p, **options)
    labels = agreement(p, empty_share=0.3, **options)
    empty = ~masks.any((1, 2))
    assert passed[labels.indices].all()
    assert (np.diff(labels.indices) > 0).all()
    assert np.array_equal(labels.masks, masks[labels.indices])
    np.testing.assert_allclose(labels.scores, scores[labels.indices], rtol=1e-5)
    for kind in (empty, ~empty):
        pool = np.flatnonzero(passed & kind)
        kept = np.intersect1d(pool, labels.indices)
        best = pool[np.argsort(-scores[pool].round(5), kind="stable")][: len(kept)]
        np.testing.assert_allclose(np.sort(scores[kept]), np.sort(scores[best]), rtol=1e-5)
    # With one more tile of the same fraction, one of the two kinds would run out.
    more = len(labels.indices) + 1
    empties = int(0.3 * more + 0.5)
    assert empties > (passed & empty).sum() or more - empties > (passed & ~empty).sum()


def plain(empty, salt):
    """Return certain tiles, first those without salt."""
    p = np.zeros((1, empty + salt, 2, 2))
    p[:, empty:] = 1.0
    return p


@settings(deadline=None, max_examples=60)
@given(empty=st.integers(0, 30), salt=st.integers(0, 30), share=st.floats(0, 1), count=st.none() | st.integers(1, 40))
def test_the_fraction_of_empty_masks_is_right_to_the_nearest_tile(empty, salt, share, count):
    if empty + salt == 0:
        return
    try:
        labels = agreement(plain(empty, salt), empty_share=share, count=count)
    except ValueError:
        # Not even one tile can be kept if there is none of its kind.
        assert (empty if int(share + 0.5) else salt) == 0
        return
    total, empties = len(labels.indices), int((~labels.masks.any((1, 2))).sum())
    assert abs(empties - share * total) <= 0.5 + 1e-9
    assert total <= (count or 60)

    def possible(total):
        return any(abs(k - share * total) <= 0.5 and total - k <= salt for k in range(min(total, empty) + 1))

    limit = min(empty + salt, count or 60)
    # At a tie between two whole numbers the larger one is taken; then one more tile might fit.
    assert total == limit or not possible(total + 1) or (share * (total + 1)) % 1 == pytest.approx(0.5, abs=1e-6)


def test_the_default_fraction_is_that_of_the_challenge():
    labels = agreement(plain(500, 500))
    assert len(labels.indices) == 820  # 500 tiles with salt are 61 % of 820
    assert labels.masks.any((1, 2)).sum() == 500


def test_the_best_tiles_are_kept_and_the_earlier_of_equals():
    p = np.full((1, 5, 2, 2), 1.0)
    p[0, 1, 0, 0] = 0.6  # three of four pixels are certain
    labels = agreement(p, sure=0.5, empty_share=0.0, count=3)
    assert labels.indices.tolist() == [0, 2, 3]
    assert agreement(p, sure=0.5, empty_share=0.0, count=5).scores.tolist() == [1.0, 0.75, 1.0, 1.0, 1.0]
    assert agreement(plain(2000, 0), empty_share=1.0, count=9).indices.tolist() == [*range(9)]


def test_tiles_with_contradictory_models_do_not_pass():
    p = np.zeros((2, 1, 4, 4))
    p[0, 0, 0, 0] = 1.0  # one model sees a pixel of salt, the other none: 15 of 16 are certain
    with pytest.raises(ValueError, match="no tile can be kept: of 1, 0 without salt and 0 with salt pass"):
        agreement(p, empty_share=1.0)
    assert agreement(p, empty_share=1.0, min_iou=0.5).scores.tolist() == [0.5 * 15 / 16]


def test_the_axis_of_a_single_model_may_be_left_out():
    p = some_probabilities(models=1)
    for first, second in zip(agreement(p), agreement(p[0]), strict=True):
        assert np.array_equal(first, second)


def test_half_precision_is_computed_in_float32():
    next_half = 0.5 + 2**-11  # in half precision, the mean of the two would be .5
    p = torch.tensor([0.5, next_half]).half().view(2, 1, 1, 1)
    assert agreement(p, sure=0.0, min_iou=0.0, empty_share=0.0).masks.all()
    p = torch.from_numpy(some_probabilities()).half()
    for first, second in zip(agreement(p), agreement(p.float()), strict=True):
        assert torch.equal(first, second)


def test_arrays_and_tensors_give_the_same_labels():
    p = some_probabilities().astype(np.float32)
    arrays, tensors = agreement(p), agreement(torch.from_numpy(p).requires_grad_())
    assert [one.dtype for one in arrays] == [np.int64, np.bool_, np.float32]
    for array, tensor in zip(arrays, tensors, strict=True):
        assert isinstance(array, np.ndarray)
        assert np.array_equal(array, tensor.numpy())


@pytest.mark.parametrize(
    "form",
    [lambda p: p[..., ::-1], lambda p: p.astype(">f4"), np.asfortranarray, lambda p: np.broadcast_to(p[:1], p.shape)],
    ids=["reversed", "big-endian", "fortran", "read-only"],
)
def test_arrays_in_any_memory_layout(form):
    p = form(some_probabilities().astype(np.float32))
    plain = np.array(p, dtype=np.float32, order="C")
    for first, second in zip(agreement(p), agreement(plain), strict=True):
        assert np.array_equal(first, second)


def test_chunks_do_not_change_the_labels(monkeypatch):
    p = some_probabilities()
    whole = agreement(p)
    monkeypatch.setattr(pseudo_labels, "CHUNK", 7)
    for first, second in zip(whole, agreement(p), strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("given_", "error", "words"),
    [
        ([[0.5]], TypeError, "probabilities must be a floating-point tensor or numpy array, got list"),
        (np.zeros((2, 4, 4), np.uint8), TypeError, "got uint8: convert"),
        (torch.zeros(2, 4, 4, dtype=torch.bool), TypeError, r"got torch\.bool: convert"),
        (torch.zeros(4, 4), ValueError, r"must have shape \(M, N, H, W\) .*, got \(4, 4\)"),
        (torch.zeros(1, 1, 2, 4, 4), ValueError, r"got \(1, 1, 2, 4, 4\)"),
        (torch.zeros(0, 4, 4), ValueError, r"got \(0, 4, 4\)"),
        (torch.full((1, 2, 2), 1.5), ValueError, r"in 0\.\.1 without NaN, got 1\.5 to 1\.5: apply a sigmoid"),
        (torch.full((1, 2, 2), float("nan")), ValueError, "without NaN, got nan"),
    ],
)
def test_wrong_probabilities_are_refused(given_, error, words):
    with pytest.raises(error, match=words):
        agreement(given_)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sure": 1.1}, r"sure must be at least 0 and at most 1, got 1\.1"),
        ({"min_iou": -0.1}, "min_iou must be at least 0"),
        ({"empty_share": float("nan")}, "empty_share must be .* got nan"),
        ({"low": 0.6}, r"low must be in 0\.\.0\.5 and high in 0\.5\.\.1, got low=0\.6 and high=0\.8"),
        ({"high": 0.4}, r"got low=0\.2 and high=0\.4"),
        ({"count": 0}, "count must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        agreement(np.zeros((1, 2, 2)), **options)


def test_the_error_without_any_tile_says_how_many_passed():
    with pytest.raises(ValueError, match=r"of 3, 3 without salt and 0 with salt pass, and empty_share=0\.0"):
        agreement(plain(3, 0), empty_share=0.0)
