"""Boundary distance: by brute force, against MONAI, and what empty masks give."""

import math

import pytest
import torch

from saltzoo.metrics import BoundaryDistance, boundary_distance


def outline(mask):
    """Return the edge pixels of a mask as points."""
    height, width = mask.shape
    inside = lambda y, x: 0 <= y < height and 0 <= x < width and bool(mask[y, x])  # noqa: E731
    return [
        (y, x)
        for y in range(height)
        for x in range(width)
        if mask[y, x] and not all(inside(y + a, x + b) for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1)))
    ]


def by_hand(pred, truth):
    """Return both distances of two masks that are not empty."""
    edges = outline(pred), outline(truth)
    sides = [
        torch.tensor([min(math.dist(p, q) for q in there) for p in here], dtype=torch.float64)
        for here, there in (edges, edges[::-1])
    ]
    return torch.cat(sides).mean().item(), max(side.quantile(0.95).item() for side in sides)


def blobs(seed, shape=(3, 13, 17)):
    rng = torch.Generator().manual_seed(seed)
    noise = torch.nn.functional.avg_pool2d(torch.rand(2, *shape, generator=rng), 5, 1, 2)
    return noise > noise.flatten(2).quantile(0.6, -1)[..., None, None]


@pytest.mark.parametrize("seed", range(4))
def test_equals_brute_force(seed):
    pred, truth = blobs(seed)
    got = boundary_distance(pred, truth, reduction="none")
    want = torch.tensor([by_hand(p, t) for p, t in zip(pred, truth, strict=True)]).float()
    torch.testing.assert_close(torch.stack(got, 1), want)
    means = boundary_distance(pred, truth)
    torch.testing.assert_close(torch.stack(means), want.mean(0))
    metric = BoundaryDistance().update(pred[:1], truth[:1]).update(pred[1:], truth[1:])
    assert metric.compute() == pytest.approx(want.mean(0).tolist(), abs=1e-6)


def test_equals_monai():
    pytest.importorskip("scipy")  # with which MONAI finds edges
    metrics = pytest.importorskip("monai.metrics")
    pred, truth = (x[:, None] for x in blobs(9, (4, 40, 30)))
    got = boundary_distance(pred, truth, reduction="none")
    want = metrics.compute_average_surface_distance(pred, truth, include_background=True, symmetric=True)
    torch.testing.assert_close(got.mean, want[:, 0].float())
    want = metrics.compute_hausdorff_distance(pred, truth, include_background=True, percentile=95)
    torch.testing.assert_close(got.hausdorff95, want[:, 0].float())


def test_a_shifted_square_is_as_far_as_it_is_shifted():
    truth = torch.zeros(1, 30, 30).bool()
    truth[:, 5:9, 5] = True
    assert boundary_distance(truth, truth) == (0, 0)
    assert boundary_distance(truth.roll(7, 2), truth) == (7, 7)
    assert boundary_distance(truth.roll((3, 4), (1, 2)), truth, reduction="none").hausdorff95 <= 5


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 9)])
def test_empty_masks_have_distances(shape):
    none, full = torch.zeros(1, *shape).bool(), torch.ones(1, *shape).bool()
    corners = math.dist((0, 0), (shape[0] - 1, shape[1] - 1))
    for pred, truth, want, skipped, present in (
        (none, none, 0, math.nan, math.nan),
        (full, none, corners, corners, math.nan),
        (none, full, corners, corners, corners),
        (full, full, 0, 0, 0),
    ):
        for empty, value in (("perfect", want), ("skip", skipped), ("present", present)):
            pair = boundary_distance(pred, truth, empty=empty)
            assert [x.item() for x in pair] == pytest.approx([value, value], nan_ok=True)
            metric = BoundaryDistance(empty=empty).update(pred, truth)
            assert metric.compute() == pytest.approx((value, value), nan_ok=True)


def test_labels_and_channels_are_masks():
    pred, truth = blobs(1).long() + blobs(2).long()  # 0 to 2
    got = boundary_distance(pred, truth, num_classes=3, reduction="none")
    one_hot = [torch.stack([x == c for c in range(3)], 1) for x in (pred, truth)]
    want = boundary_distance(*one_hot, reduction="none")
    assert torch.equal(got.mean, want.mean)
    assert got.mean.shape == (3, 3)
    some = boundary_distance(pred, truth, num_classes=3, classes=[2, 1], reduction="none")
    assert torch.equal(some.hausdorff95, want.hausdorff95[:, [2, 1]])
    with pytest.raises(ValueError, match="labels of pred_masks must be 0 to 1"):
        boundary_distance(pred, truth, num_classes=2)


def test_ignored_pixels_are_outside():
    pred, truth = (x.long() for x in blobs(3))
    want = boundary_distance(pred, truth)
    wide = torch.cat([pred, torch.ones(3, 13, 4).long()], 2), torch.cat([truth, torch.full((3, 13, 4), 255)], 2)
    torch.testing.assert_close(boundary_distance(*wide, ignore_index=255), want)
