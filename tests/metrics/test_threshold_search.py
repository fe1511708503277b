"""Threshold search against masks that are made and scored one threshold and area at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.metrics import ThresholdSearch, dice_score, iou_score, salt_map, search_threshold
from saltzoo.metrics._grid import best_of


def batch(seed=0, count=5, size=4, ignored=0.0):
    """Return probabilities, many of them equal to a threshold, and a truth."""
    rng = np.random.default_rng(seed)
    shape = (count, size, size)
    target = (rng.random(shape) < rng.choice([0, 0.4, 1], (count, 1, 1))).astype(np.int64)
    p = np.clip(0.3 * target + rng.normal(0.3, 0.15, shape), 0, 1)
    p = np.where(rng.random(shape) < 0.5, p.round(2), p)
    return p.astype(np.float32), np.where(rng.random(shape) < ignored, 255, target)


def score_of(metric, masks, target, **options):
    if metric == "salt_map":
        return salt_map(masks, target, **options)
    function = {"iou": iou_score, "dice": dice_score}[metric]
    return function(masks, target, average="per_image", **options)


def brute_force(p, target, thresholds, areas, metric, ignore_index=None):
    valid = np.ones_like(target, bool) if ignore_index is None else target != ignore_index
    table = np.empty((len(thresholds), len(areas)))
    for i, threshold in enumerate(thresholds):
        for k, area in enumerate(areas):
            masks = p > np.asarray(threshold, p.dtype)
            masks &= (masks & valid).sum((1, 2), keepdims=True) >= area
            table[i, k] = score_of(metric, masks, target, ignore_index=ignore_index)
    return table


@pytest.mark.parametrize("metric", ["salt_map", "iou", "dice"])
@given(st.integers(0, 10**9), st.sampled_from([0.0, 0.3]))
@settings(max_examples=3, deadline=None)
def test_equals_brute_force_over_thresholds_and_areas(metric, seed, ignored):
    p, target = batch(seed, ignored=ignored)
    areas = (0, 1, 4, 16, 17)
    options = {"metric": metric, "ignore_index": 255 if ignored else None}
    found = search_threshold(p, target, min_areas=areas, **options)
    thresholds = [k / 100 for k in range(101)]
    want = brute_force(p, target, thresholds, areas, **options)
    assert found.thresholds == tuple(thresholds)
    assert found.min_areas == areas
    assert found.scores.numpy() == pytest.approx(want, abs=1e-6)
    row, column = thresholds.index(found.threshold), areas.index(found.min_area)
    assert found.score == found.scores[row, column] == found.scores.max()
    assert found.scores[:, :column].numel() == 0 or found.scores[:, :column].max() < found.score


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_scores_are_those_of_p_above_t(dtype):
    """`p > t` rounds t to the precision of p, and so does the search."""
    rng = torch.Generator().manual_seed(0)
    p = torch.rand(20, 1, 9, 9, generator=rng, dtype=torch.float64).to(dtype)
    target = torch.rand(20, 9, 9, generator=rng) < 0.5
    found = search_threshold(p, target, metric="iou", refine=1)
    want = [iou_score(p > t, target, average="per_image") for t in found.thresholds]
    torch.testing.assert_close(found.scores[:, 0], torch.stack(want).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_pixel_on_the_threshold_is_not_salt(dtype):
    p = torch.tensor([[[0.25, 0.5, 0.75]]], dtype=dtype)
    target = torch.tensor([[[0, 1, 1]]])
    found = search_threshold(p, target, thresholds=[0.2, 0.25, 0.5, 0.75], metric="iou")
    torch.testing.assert_close(found.scores[:, 0], torch.tensor([2 / 3, 1, 1 / 2, 0], dtype=torch.float64))
    assert found.threshold == 0.25


def test_a_plateau_gives_its_middle():
    target = torch.tensor([[[0, 1, 1, 1]]])
    p = torch.tensor([[[0.195, 0.805, 0.9, 0.9]]])  # .20 to .80 are perfect
    found = search_threshold(p, target, min_areas=(0, 1, 2, 3))
    assert (found.threshold, found.min_area, found.score) == (0.5, 0, 1)
    perfect = search_threshold(target.double(), target)  # 0 to .99 are perfect; .50 is the upper of two middles
    assert perfect.threshold == 0.5


@pytest.mark.parametrize(
    ("totals", "want"),
    [
        ([[3], [1], [3], [3], [0], [3]], (3, 0)),  # the longer run, and the upper of its two middles
        ([[0], [3], [1], [3]], (1, 0)),  # the first of two equally long runs
        ([[1, 3], [2, 3], [2, 2]], (1, 1)),
        ([[3, 3], [1, 3], [1, 3]], (0, 0)),  # the smaller area, though its run is shorter
        ([[0]], (0, 0)),
    ],
)
def test_choice_among_equal_scores(totals, want):
    assert best_of(torch.tensor(totals)) == want


def test_an_area_empties_small_masks():
    target = torch.zeros(2, 4, 4, dtype=torch.long)
    target[0, :2] = 1  # 8 pixels of salt; the other tile is empty
    p = target * 0.9
    p[1, 0, :3] = 0.8  # 3 pixels of noise
    found = search_threshold(p, target, thresholds=[0.5], min_areas=(0, 3, 4, 8, 9))
    assert found.scores[0].tolist() == [0.5, 0.5, 1, 1, 0.5]
    assert (found.min_area, found.score) == (4, 1)


@pytest.mark.parametrize("metric", ["salt_map", "iou"])
def test_refined_search_is_never_worse_and_equals_brute_force(metric):
    for seed in range(3):
        p, target = batch(seed, count=8)
        coarse = search_threshold(p, target, thresholds=5, metric=metric, min_areas=(0, 3))
        found = search_threshold(p, target, thresholds=5, metric=metric, min_areas=(0, 3), refine=2)
        assert found.score >= coarse.score
        assert set(coarse.thresholds) <= set(found.thresholds)
        assert list(found.thresholds) == sorted(set(found.thresholds))
        steps = np.diff(found.thresholds)
        assert steps.min() == pytest.approx(0.25 / 100)
        want = brute_force(p, target, found.thresholds, (0, 3), metric)
        assert found.scores.numpy() == pytest.approx(want, abs=1e-6)
        assert found.score == found.scores.max()


def test_refining_continues_from_all_thresholds_tried():
    """The best threshold may come from an earlier round; its neighbours from later rounds are nearer."""
    for seed in range(6):
        p, target = batch(seed, count=8)
        found = search_threshold(p, target, thresholds=3, metric="iou", refine=3)
        for threshold, score in zip(found.thresholds, found.scores[:, 0].tolist(), strict=True):
            assert score <= found.score + 1e-12, threshold
        near = np.abs(np.array(found.thresholds) - found.threshold)
        assert np.sort(near)[1] == pytest.approx(0.5 / 1000)


@pytest.mark.parametrize("metric", ["salt_map", "iou", "dice"])
def test_an_image_without_valid_pixels_does_not_count(metric):
    """It does not count as an empty mask, although any minimal area empties it."""
    p, target = torch.full((2, 1, 2), 0.9), torch.tensor([[[0, 1]], [[255, 255]]])
    found = search_threshold(p, target, thresholds=[0.5], min_areas=(0, 5), metric=metric, ignore_index=255)
    alone = search_threshold(p[:1], target[:1], thresholds=[0.5], min_areas=(0, 5), metric=metric)
    torch.testing.assert_close(found.scores, alone.scores)


def test_refining_finds_what_the_coarse_grid_cannot():
    p, target = torch.tensor([[[0.611, 0.613]]]), torch.tensor([[[0, 1]]])
    assert search_threshold(p, target).score == 0  # an IoU of 1/2 exceeds no threshold
    found = search_threshold(p, target, refine=1, thresholds=[0.0, 0.6, 0.7], metric="iou")
    assert found.score == 0.5
    found = search_threshold(p, target, refine=2, metric="iou", thresholds=[0.6, 0.61, 0.62])
    assert found.score == 1
    assert 0.611 <= found.threshold < 0.613


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": 1}, "thresholds must be at least 2, got 1"),
        ({"thresholds": np.int64(1)}, "thresholds must be at least 2, got 1"),
        ({"thresholds": []}, r"at least one, got \(\)"),
        ({"thresholds": [0.5, 0.4]}, "increasing"),
        ({"thresholds": [0.5, 1.4]}, r"in 0\.\.1.*1\.4"),
        ({"thresholds": [0.1, float("nan")]}, "increasing.*nan"),
        ({"min_areas": (3, 3)}, r"min_areas must be increasing.*got \(3, 3\)"),
        ({"min_areas": (-1,)}, "min_areas"),
        ({"min_areas": (0.5,)}, "counts of pixels"),
        ({"min_areas": ()}, "min_areas"),
        ({"metric": "f1"}, "unknown metric 'f1': choose one of 'salt_map', 'iou', 'dice'"),
        ({"refine": -1}, "refine must be 0 or more, got -1"),
        ({"thresholds": [0.5], "refine": 1}, "at least two thresholds"),
    ],
)
def test_options_that_are_refused(options, message):
    p, target = batch()
    with pytest.raises(ValueError, match=message):
        search_threshold(p, target, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": 0.5}, r"thresholds must be a whole number, such as 101, or a list, got 0\.5"),
        ({"min_areas": 20}, r"min_areas must be a list, got 20: give several, as in \(0, 20\)"),
    ],
)
def test_a_number_is_not_a_list(options, message):
    with pytest.raises(TypeError, match=message):
        search_threshold(*batch(), **options)
    with pytest.raises(TypeError, match=message):
        ThresholdSearch(**options)


def test_probabilities_are_checked():
    p, target = batch()
    with pytest.raises(TypeError, match=r"must be floating point numbers in 0\.\.1, got torch\.bool"):
        search_threshold(p > 0.5, target)
    for wrong, message in ((np.nan, "nan"), (-0.1, r"-0\.1.*sigmoid"), (1.5, r"1\.5.*sigmoid")):
        q = p.copy()
        q[1, 2, 3] = wrong
        with pytest.raises(ValueError, match=message):
            search_threshold(q, target)
        blank = target.copy()
        blank[1, 2, 3] = 255
        search = ThresholdSearch(ignore_index=255)
        assert search.update(q, blank).compute().score == search_threshold(p, blank, ignore_index=255).score
    with pytest.raises(ValueError, match="no image"):
        search_threshold(p[:0], target[:0])
