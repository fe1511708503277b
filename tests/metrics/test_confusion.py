"""Confusion matrix and its scores against counted pairs, SMP, IoU and accuracy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.metrics import ConfusionMatrix, confusion_matrix, confusion_scores, iou_score, pixel_accuracy


def batch(seed, classes, shape=(3, 5, 4), ignored=0.3, ignore_index=255):
    rng = np.random.default_rng(seed)
    pred, target = rng.integers(0, classes, (2, *shape))
    return pred, np.where(rng.random(shape) < ignored, ignore_index, target)


@given(st.integers(0, 10**9), st.integers(2, 20), st.sampled_from([255, -1, 1000]))
@settings(max_examples=20, deadline=None)
def test_counts_pairs(seed, classes, ignore_index):
    pred, target = batch(seed, classes, ignore_index=ignore_index)
    want = np.zeros((classes, classes), int)
    for p, t in zip(pred.flat, target.flat, strict=True):
        if t != ignore_index:
            want[t, p] += 1
    got = confusion_matrix(pred, target, num_classes=classes, ignore_index=ignore_index)
    assert got.dtype == torch.int64
    assert got.tolist() == want.tolist()


def test_an_ignored_class_is_ignored():
    pred, target = batch(0, 4, ignored=0)
    matrix = confusion_matrix(pred, target, num_classes=4)
    without = confusion_matrix(pred, target, num_classes=4, ignore_index=0)
    matrix[0] = 0
    assert torch.equal(without, matrix)


@pytest.mark.parametrize("ignore_index", [None, 255])
def test_equals_smp(ignore_index):
    """Ignored pixels are not true negatives either."""
    get_stats = pytest.importorskip("segmentation_models_pytorch").metrics.get_stats
    options = {"num_classes": 5, "ignore_index": ignore_index}
    pred, target = (torch.from_numpy(x) for x in batch(1, 5, (6, 9, 7), ignored=0.2 if ignore_index else 0))
    tp, fp, fn, tn = (x.sum(0) for x in get_stats(pred, target, mode="multiclass", **options))
    matrix = confusion_matrix(pred, target, **options)
    diagonal, total = matrix.diagonal(), matrix.sum()
    assert torch.equal(diagonal, tp)
    assert torch.equal(matrix.sum(0) - diagonal, fp)
    assert torch.equal(matrix.sum(1) - diagonal, fn)
    assert torch.equal(total - matrix.sum(0) - matrix.sum(1) + diagonal, tn)


@given(st.integers(0, 10**9))
@settings(max_examples=20, deadline=None)
def test_scores_are_iou_and_accuracy(seed):
    rng = np.random.default_rng(seed)
    pred, target = rng.integers(0, rng.integers(1, 7, 2)[:, None, None, None], (2, 3, 4, 4))  # some of 6 are absent
    scores = ConfusionMatrix(num_classes=6).update(pred, target).compute()
    labels = {"num_classes": 6, "empty": "skip"}
    iou = iou_score(pred, target, reduction="none", **labels)
    torch.testing.assert_close(scores.iou.float(), iou, equal_nan=True)
    assert scores.mean_iou == pytest.approx(iou_score(pred, target, **labels).item())
    assert scores.pixel_accuracy == pytest.approx(pixel_accuracy(pred, target, num_classes=6).item())
    weighted = sum((target == k).mean() * iou[k].item() for k in range(6) if (target == k).any())
    assert scores.frequency_weighted_iou == pytest.approx(weighted)


def test_ideal_worst_and_absent():
    labels = torch.tensor([[[0, 0, 2, 2]]])
    ideal = confusion_scores(confusion_matrix(labels, labels, num_classes=3))
    assert (ideal.mean_iou, ideal.frequency_weighted_iou, ideal.pixel_accuracy) == (1, 1, 1)
    assert ideal.iou.isnan().tolist() == [False, True, False]
    worst = confusion_scores(confusion_matrix(2 - labels, labels, num_classes=3))
    assert (worst.mean_iou, worst.frequency_weighted_iou, worst.pixel_accuracy) == (0, 0, 0)


def test_errors_say_what_to_do():
    labels = np.array([[[0, 1, 2, 255]]])
    with pytest.raises(ValueError, match=r"labels of target_masks must be 0 to 2.*got 255.*ignore_index=255"):
        confusion_matrix(np.minimum(labels, 2), labels, num_classes=3)
    with pytest.raises(
        ValueError, match=r"labels of pred_masks must be 0 to 2 with num_classes=3, got 3: raise num_classes$"
    ):
        confusion_matrix(np.minimum(labels, 3), labels, num_classes=3, ignore_index=254)
    with pytest.raises(ValueError, match=r"labels of target_masks .*got -1"):
        iou_score(labels * 0, labels - 1, num_classes=256)
    # Where the truth is ignored the prediction may be anything.
    assert confusion_matrix(labels, labels, num_classes=3, ignore_index=255).sum() == 3
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        ConfusionMatrix(num_classes=1)
    with pytest.raises(ValueError, match=r"must be square, \(C, C\), got \(2, 3\)"):
        confusion_scores(torch.ones(2, 3))
    with pytest.raises(ValueError, match="at least one pixel"):
        confusion_scores(torch.zeros(3, 3))


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (np.eye(2), TypeError, r"must be a tensor, got a ndarray: use torch\.from_numpy"),
        (torch.tensor([[1, -1], [0, 2]]), ValueError, "must hold counts, 0 or more"),
        (torch.tensor([[1, torch.nan], [0, 2]]), ValueError, "must hold counts, 0 or more"),
    ],
)
def test_errors_of_confusion_scores(matrix, error, message):
    with pytest.raises(error, match=message):
        confusion_scores(matrix)
