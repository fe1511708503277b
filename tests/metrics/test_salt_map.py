"""The competition's score against its definition in fractions, and at the thresholds."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.metrics import SaltMAP, salt_map

THRESHOLDS = [Fraction(50 + 5 * k, 100) for k in range(10)]


def definition(pred, target):
    """Return the score of one image, pixel by pixel, in fractions."""
    pixels = list(zip(pred.flatten().tolist(), target.flatten().tolist(), strict=True))
    intersection = sum(1 for p, t in pixels if p and t)
    union = sum(1 for p, t in pixels if p or t)
    if not any(p for p, _ in pixels) and not any(t for _, t in pixels):
        return Fraction(1)
    if not any(p for p, _ in pixels) or not any(t for _, t in pixels):
        return Fraction(0)
    iou = Fraction(intersection, union)
    return Fraction(sum(iou > t for t in THRESHOLDS), 10)


def masks_of_iou(intersection, union, size=101):
    """Return a prediction within its truth, (1, size, size) bool each."""
    pixels = torch.arange(size * size).reshape(1, size, size)
    return pixels < intersection, pixels < union


def random_masks(seed, count=6, size=4):
    rng = np.random.default_rng(seed)
    target = rng.random((count, size, size)) < rng.choice([0, 0.3, 0.9], (count, 1, 1))
    return target ^ (rng.random(target.shape) < rng.choice([0, 0.1, 0.5], (count, 1, 1))), target


@given(st.integers(0, 10**9), st.sampled_from([1, 2, 4, 7]))
@settings(max_examples=40, deadline=None)
def test_equals_the_definition(seed, size):
    pred, target = random_masks(seed, size=size)
    want = [definition(p, t) for p, t in zip(pred, target, strict=True)]
    assert salt_map(pred, target, reduction="none").tolist() == pytest.approx([float(x) for x in want])
    assert salt_map(pred, target).item() == pytest.approx(float(sum(want) / 6))
    assert SaltMAP().update(pred, target).compute() == float(sum(want) / 6)


@pytest.mark.parametrize("k", range(10))
@pytest.mark.parametrize("scale", [20, 10_000])
def test_an_iou_on_a_threshold_does_not_pass_it(k, scale):
    intersection = (50 + 5 * k) * scale // 100
    for extra, passed in ((0, k), (1, k + 1)):
        if extra and scale == 20:  # one more pixel reaches the next threshold
            continue
        score = SaltMAP().update(*masks_of_iou(intersection + extra, scale)).compute()
        assert score == passed / 10


@pytest.mark.parametrize(
    ("percent", "score", "floor_form"), [(55, 0.1, 0.2), (60, 0.2, 0.2), (65, 0.3, 0.4), (100, 1.0, 1.1)]
)
def test_not_the_popular_floor_form(percent, score, floor_form):
    """The floor form depends on rounding at thresholds, and counts an eleventh threshold at IoU 1."""
    pred, target = masks_of_iou(percent, 100)
    assert np.floor((percent / 100 - 0.45) * 20) / 10 == floor_form
    assert SaltMAP().update(pred, target).compute() == float(definition(pred, target)) == score


def test_an_empty_truth_against_80_rows_scores_nothing():
    """The popular histogram form gives .6, because it scores the background."""
    pred = torch.zeros(1, 101, 101, dtype=torch.bool)
    pred[:, :80] = True
    empty = torch.zeros_like(pred)
    assert salt_map(pred, empty).item() == 0
    assert salt_map(empty, pred).item() == 0
    assert salt_map(empty, empty).item() == 1


@given(st.integers(0, 10**9))
@settings(max_examples=20, deadline=None)
def test_ignored_pixels_are_left_out(seed):
    rng = np.random.default_rng(seed)
    pred, target = random_masks(seed)
    target = np.where(rng.random(target.shape) < rng.choice([0, 0.5, 1], (6, 1, 1)), 255, target).astype(np.uint8)
    keep = target != 255
    want = [definition(p[k], t[k]) if k.any() else Fraction(-1) for p, t, k in zip(pred, target, keep, strict=True)]
    scores = salt_map(pred, target, ignore_index=255, reduction="none")
    assert scores.nan_to_num(-1).tolist() == pytest.approx([float(x) for x in want])
    seen = [x for x in want if x >= 0]
    if seen:
        mean = float(sum(seen) / len(seen))
        assert salt_map(pred, target, ignore_index=255).item() == pytest.approx(mean)
        assert SaltMAP(ignore_index=255).update(pred, target).compute() == mean
    else:
        assert salt_map(pred, target, ignore_index=255).isnan()


def test_more_wrong_pixels_never_score_more():
    target = masks_of_iou(60, 60)[1]
    flat = target.flatten().int()
    for start in (0, 60):  # salt missed first, or background taken first
        order = torch.arange(start, start + len(flat)) % len(flat)
        scores = []
        for wrong in range(101):
            pred = flat.clone()
            pred[order[:wrong]] ^= 1
            scores.append(salt_map(pred.view_as(target), target).item())
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == 1
        assert scores[-1] == 0
