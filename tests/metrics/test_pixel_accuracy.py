"""Pixel accuracy of some classes: against loops over pixels, and against torchmetrics."""

import numpy as np
import pytest
import torch

from saltzoo.metrics import PixelAccuracy, pixel_accuracy

IGNORED = 255


def batch(shape, labels, seed=0, ignored=0.2):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, labels, shape)
    pred = np.where(rng.random(shape) < 0.4, rng.integers(0, labels, shape), target)
    target[0] = 0  # an image without the other classes
    target[rng.random(shape) < ignored] = IGNORED
    return pred, target


def by_loops(pred, target, classes, average):
    """Return the accuracy over the pixels whose truth is one of the classes."""
    images = []
    for p, t in zip(pred, target, strict=True):
        there = [(a == b, 1) for a, b in zip(p.flat, t.flat, strict=True) if b in classes]
        images.append(np.array(there).reshape(-1, 2).sum(0))
    if average == "micro":
        right, count = np.sum(images, 0)
        return right / count
    return np.mean([right / count for right, count in images if count])


@pytest.mark.parametrize("average", ["micro", "per_image"])
@pytest.mark.parametrize("classes", [[2], (3, 1), [0, 1, 2, 3]])
def test_accuracy_of_some_labels_equals_loops(average, classes):
    pred, target = batch((5, 6, 7), 4)
    options = {"average": average, "num_classes": 4, "classes": classes, "ignore_index": IGNORED}
    want = by_loops(pred, target, classes, average)
    assert pixel_accuracy(pred, target, **options).item() == pytest.approx(want)
    metric = PixelAccuracy(**options).update(pred[:2], target[:2]).update(pred[2:], target[2:])
    assert metric.compute() == pytest.approx(want)


def test_accuracy_of_some_labels_equals_torchmetrics():
    """Leaving out a class there is leaving out the pixels whose truth it is."""
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    pred, target = (torch.from_numpy(x) for x in batch((5, 6, 7), 4, ignored=0))
    want = theirs.multiclass_accuracy(pred, target, num_classes=4, average="micro", ignore_index=0)
    torch.testing.assert_close(pixel_accuracy(pred, target, num_classes=4, classes=[1, 2, 3]), want)


@pytest.mark.parametrize("average", ["micro", "per_image"])
def test_accuracy_of_some_channels_is_that_of_each(average):
    pred, target = batch((5, 3, 6, 7), 2)
    options = {"average": average, "ignore_index": IGNORED}
    each = [pixel_accuracy(pred[:, c], target[:, c], **options) for c in (2, 0)]
    rows = pixel_accuracy(pred, target, classes=[2, 0], reduction="none", **options)
    for c, column in zip((2, 0), rows.unbind(-1), strict=True):
        want = pixel_accuracy(pred[:, c], target[:, c], reduction="none", **options)
        torch.testing.assert_close(column, want)
    mean = pixel_accuracy(pred, target, classes=[2, 0], **options)
    torch.testing.assert_close(mean, torch.stack(each).mean())
    metric = PixelAccuracy(classes=(2, 0), **options).update(pred, target)
    assert metric.compute() == pytest.approx(mean.item())


def test_no_pixel_of_the_classes_gives_nan():
    labels = np.zeros((2, 3, 3), np.int64)
    assert pixel_accuracy(labels, labels, num_classes=3, classes=[1]).isnan()
    assert np.isnan(PixelAccuracy(num_classes=3, classes=[1]).update(labels, labels).compute())


def test_classes_that_there_are_not_are_refused():
    labels = np.zeros((2, 3, 3), np.int64)
    for call in (pixel_accuracy, lambda p, t, **options: PixelAccuracy(**options).update(p, t)):
        with pytest.raises(ValueError, match="classes must be different numbers from 0 to 2"):
            call(labels, labels, num_classes=3, classes=[3])
        with pytest.raises(ValueError, match="classes must be different numbers from 0 to 0"):
            call(labels, labels, classes=[1])
        with pytest.raises(TypeError, match="classes must be a list"):
            call(labels, labels, num_classes=3, classes=1)


def test_accumulators_of_other_classes_do_not_merge():
    with pytest.raises(ValueError, match="same options"):
        PixelAccuracy(num_classes=3, classes=[1]).merge(PixelAccuracy(num_classes=3, classes=[2]))
