"""The competition's score: against its definition in fractions, at its boundaries, and across processes."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.metrics import SaltMAP, salt_map

THRESHOLDS = [Fraction(50 + 5 * k, 100) for k in range(10)]


def definition(pred, target):
    """Score of one image, a pixel at a time, in fractions."""
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
    """A prediction inside its truth, (1, size, size) bool each."""
    pixels = torch.arange(size * size).reshape(1, size, size)
    return pixels < intersection, pixels < union


def random_masks(seed, count=6, size=4):
    rng = np.random.default_rng(seed)
    target = rng.random((count, size, size)) < rng.choice([0, 0.3, 0.9], (count, 1, 1))
    return target ^ (rng.random(target.shape) < rng.choice([0, 0.1, 0.5], (count, 1, 1))), target


@given(st.integers(0, 10**9), st.sampled_from([1, 2, 4, 7]))
@settings(max_examples=80, deadline=None)
def test_equals_the_definition(seed, size):
    pred, target = random_masks(seed, size=size)
    want = [definition(p, t) for p, t in zip(pred, target, strict=True)]
    assert salt_map(pred, target, reduction="none").tolist() == pytest.approx([float(x) for x in want])
    assert salt_map(pred, target).item() == pytest.approx(float(sum(want) / 6))
    assert SaltMAP().update(pred, target).compute() == float(sum(want) / 6)


@pytest.mark.parametrize("k", range(10))
@pytest.mark.parametrize("scale", [20, 100, 10_000])
def test_an_iou_on_a_threshold_does_not_pass_it(k, scale):
    intersection = (50 + 5 * k) * scale // 100
    for extra, passed in ((0, k), (1, k + 1)):
        if extra and scale == 20:  # one pixel is the next threshold here
            continue
        score = SaltMAP().update(*masks_of_iou(intersection + extra, scale)).compute()
        assert score == passed / 10


@pytest.mark.parametrize(
    ("percent", "score", "floor_form"), [(55, 0.1, 0.2), (60, 0.2, 0.2), (65, 0.3, 0.4), (100, 1.0, 1.1)]
)
def test_not_the_popular_floor_form(percent, score, floor_form):
    """It counts a threshold as passed, or not, as rounding falls, and an eleventh at IoU 1."""
    pred, target = masks_of_iou(percent, 100)
    assert np.floor((percent / 100 - 0.45) * 20) / 10 == floor_form
    assert SaltMAP().update(pred, target).compute() == float(definition(pred, target)) == score


def test_an_empty_truth_against_80_rows_scores_nothing():
    """The popular histogram form gives .6: it scores the truth's background, an IoU of 80/101."""
    pred = torch.zeros(1, 101, 101, dtype=torch.bool)
    pred[:, :80] = True
    empty = torch.zeros_like(pred)
    assert salt_map(pred, empty).item() == 0
    assert salt_map(empty, pred).item() == 0
    assert salt_map(empty, empty).item() == 1


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64])
def test_dtypes_and_layouts_agree(dtype):
    pred, target = random_masks(3)
    want = salt_map(pred, target, reduction="none")
    for p in (pred.astype(dtype), pred[:, None].astype(dtype), np.where(pred, 100, 0).astype(dtype)):
        p.flags.writeable = False
        flipped = np.ascontiguousarray(p[..., ::-1])[..., ::-1]
        for q in (p, flipped, torch.from_numpy(p.copy())):
            torch.testing.assert_close(salt_map(q, target, reduction="none"), want)
            torch.testing.assert_close(salt_map(target, q, reduction="none"), want)


@given(st.integers(0, 10**9), st.integers(0, 6))
@settings(max_examples=20, deadline=None)
def test_merged_parts_equal_the_whole(seed, cut):
    pred, target = random_masks(seed)
    first, second = (SaltMAP().update(pred[i], target[i]) for i in (slice(cut), slice(cut, None)))
    whole = SaltMAP().update(pred, target).compute()
    assert SaltMAP().merge(first).merge(SaltMAP()).merge(second).compute() == whole
    assert first.merge(second).compute() == whole
    with torch.inference_mode():
        late = SaltMAP().update(pred[:cut], target[:cut])
    assert late.update(pred[cut:], target[cut:]).compute() == whole


def test_reset_and_sync_alone():
    metric = SaltMAP().update(*masks_of_iou(0, 5)).sync()
    assert metric.compute() == 0
    metric.reset()
    assert metric.update(*masks_of_iou(5, 5)).sync().compute() == 1


def worker(rank, world, folder, seen_by):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    try:
        metric = SaltMAP()
        pred, target = random_masks(7)
        if rank in seen_by:
            mine = slice(None) if len(seen_by) == 1 else (slice(4) if rank == 0 else slice(4, None))
            metric.update(pred[mine], target[mine])
        (folder / f"{rank}").write_text(repr(metric.sync().compute()))
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")
@pytest.mark.parametrize("seen_by", [(0, 1), (1,)], ids=["both", "one"])
def test_sync_of_two_processes(tmp_path, monkeypatch, seen_by):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(worker, (2, tmp_path, seen_by), nprocs=2)
    want = repr(SaltMAP().update(*random_masks(7)).compute())
    assert [(tmp_path / rank).read_text() for rank in "01"] == [want, want]


@pytest.mark.parametrize(
    ("pred", "target", "error", "message"),
    [
        (
            torch.rand(2, 4, 4),
            torch.ones(2, 4, 4).bool(),
            TypeError,
            "pred_masks.*float32.*probabilities > 0.5",
        ),
        (np.ones((2, 4, 4), bool), np.ones((2, 4, 4)), TypeError, "target_masks.*float64.*threshold first"),
        ([[1]], np.ones((2, 4, 4), bool), TypeError, "list"),
        (np.ones((4, 4), bool), np.ones((4, 4), bool), ValueError, r"\(4, 4\).*pred_masks\[None\]"),
        (
            np.ones((2, 2, 4, 4), bool),
            np.ones((2, 4, 4), bool),
            ValueError,
            r"\(2, 2, 4, 4\).*\(N, 1, H, W\)",
        ),
        (np.ones((2, 0, 4), bool), np.ones((2, 0, 4), bool), ValueError, "at least one pixel"),
        (np.ones((2, 4, 4), bool), np.ones((2, 4, 5), bool), ValueError, r"\(2, 4, 5\).*padding"),
        (np.ones((2, 2, 8), bool), np.ones((2, 4, 4), bool), ValueError, "differ"),
        (np.ones((3, 4, 4), bool), np.ones((2, 4, 4), bool), ValueError, "differ"),
        (torch.ones(2, 4, 4, device="meta").bool(), np.ones((2, 4, 4), bool), ValueError, "meta.*cpu"),
    ],
)
def test_errors_say_what_to_do(pred, target, error, message):
    for call in (salt_map, SaltMAP().update):
        with pytest.raises(error, match=message):
            call(pred, target)


def test_no_image_has_no_mean():
    none = np.ones((0, 4, 4), bool)
    assert salt_map(none, none, reduction="none").shape == (0,)
    with pytest.raises(ValueError, match="no image"):
        salt_map(none, none)
    for metric in (SaltMAP(), SaltMAP().update(none, none)):
        with pytest.raises(ValueError, match="update"):
            metric.compute()
    with pytest.raises(ValueError, match=r"'sum'.*'mean', 'none'"):
        salt_map(none, none, reduction="sum")
