"""Promises of all metrics: accepted masks, exact sums, and no waiting for devices."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.metrics import (
    BoundaryDistance,
    ConfusionMatrix,
    DiceScore,
    EmptyAccuracy,
    FBetaScore,
    IoUScore,
    MatthewsScore,
    PixelAccuracy,
    PrecisionScore,
    RecallScore,
    SaltMAP,
    SpecificityScore,
    ThresholdSearch,
    _counts,
    boundary_distance,
    confusion_matrix,
    dice_score,
    empty_accuracy,
    fbeta_score,
    iou_score,
    matthews_score,
    pixel_accuracy,
    precision_score,
    recall_score,
    salt_map,
    specificity_score,
)

BINARY, LABELS, PROBABILITIES = "binary", "labels", "probabilities"
LABELLED = {"num_classes": 4}
FORMS = {
    "salt_map": (SaltMAP, BINARY, {}),
    "iou": (IoUScore, BINARY, {}),
    "iou of images": (IoUScore, BINARY, {"average": "per_image"}),
    "iou of images with salt": (IoUScore, BINARY, {"average": "per_image", "empty": "skip"}),
    "iou of labels": (IoUScore, LABELS, LABELLED),
    "iou of labels of images": (IoUScore, LABELS, {"average": "per_image", "empty": "skip", **LABELLED}),
    "dice": (DiceScore, BINARY, {"average": "per_image"}),
    "accuracy": (PixelAccuracy, BINARY, {}),
    "accuracy of labels": (PixelAccuracy, LABELS, {"average": "per_image", **LABELLED}),
    "accuracy of some labels": (PixelAccuracy, LABELS, {"classes": (1, 2), **LABELLED}),
    "empty": (EmptyAccuracy, BINARY, {}),
    "confusion": (ConfusionMatrix, LABELS, LABELLED),
    "salt_map of salt": (SaltMAP, BINARY, {"empty": "present"}),
    "iou of present classes": (IoUScore, LABELS, {"average": "per_image", "empty": "present", **LABELLED}),
    "iou of some classes": (IoUScore, LABELS, {"classes": [3, 1], "class_average": "weighted", **LABELLED}),
    "dice of all pixels": (DiceScore, LABELS, {"average": "per_image", "class_average": "micro", **LABELLED}),
    "dice by support": (DiceScore, LABELS, {"average": "per_image", "class_average": "weighted", **LABELLED}),
    "precision": (PrecisionScore, BINARY, {}),
    "precision of labels": (PrecisionScore, LABELS, {"class_average": "weighted", "classes": (1, 2), **LABELLED}),
    "recall of images": (RecallScore, LABELS, {"average": "per_image", "empty": "skip", **LABELLED}),
    "specificity": (SpecificityScore, LABELS, {"class_average": "micro", **LABELLED}),
    "fbeta": (FBetaScore, BINARY, {"beta": 0.3, "average": "per_image", "empty": "present"}),
    "fbeta of labels": (FBetaScore, LABELS, {"beta": 2, **LABELLED}),
    "matthews of images": (MatthewsScore, BINARY, {"average": "per_image"}),
    "matthews of labels": (MatthewsScore, LABELS, {"class_average": "micro", **LABELLED}),
    "boundary": (BoundaryDistance, BINARY, {}),
    "boundary of labels": (BoundaryDistance, LABELS, {"empty": "present", **LABELLED}),
    "search": (ThresholdSearch, PROBABILITIES, {"thresholds": 11, "min_areas": (0, 3)}),
    "search of iou": (ThresholdSearch, PROBABILITIES, {"thresholds": 11, "metric": "iou"}),
}
every_form = pytest.mark.parametrize(("build", "kind", "options"), FORMS.values(), ids=FORMS)
FUNCTIONS = {
    SaltMAP: salt_map,
    IoUScore: iou_score,
    DiceScore: dice_score,
    PixelAccuracy: pixel_accuracy,
    EmptyAccuracy: empty_accuracy,
    BoundaryDistance: boundary_distance,
    ConfusionMatrix: confusion_matrix,
    PrecisionScore: precision_score,
    RecallScore: recall_score,
    SpecificityScore: specificity_score,
    FBetaScore: fbeta_score,
    MatthewsScore: matthews_score,
}


def batch(kind, seed=0, count=6, size=5, ignored=0.0):
    """Return a prediction and a truth with 255 at ignored pixels; some masks are empty."""
    rng = np.random.default_rng(seed)
    shape = (count, size, size)
    if kind == LABELS:
        target = rng.integers(0, rng.integers(1, 5, (count, 1, 1)), shape)
        pred = np.where(rng.random(shape) < 0.3, rng.integers(0, 4, shape), target)
    else:
        target = (rng.random(shape) < rng.choice([0, 0.3, 0.9], (count, 1, 1))).astype(np.int64)
        pred = target ^ (rng.random(shape) < rng.choice([0, 0.1, 0.5], (count, 1, 1)))
    if kind == PROBABILITIES:
        pred = np.clip((pred + rng.normal(0, 0.5, shape)) * 0.5, 0, 1)
    return torch.from_numpy(pred), torch.from_numpy(np.where(rng.random(shape) < ignored, 255, target))


def plain(result):
    """Return the numbers of any result as strings, so that NaN equals NaN."""
    if isinstance(result, float):
        return repr(result)
    fields = result._asdict() if isinstance(result, tuple) else vars(result)
    return {name: repr(value.tolist() if isinstance(value, torch.Tensor) else value) for name, value in fields.items()}


def score(build, options, *batches):
    metric = build(**options)
    for pred, target in batches:
        metric.update(pred, target)
    return plain(metric.compute())


@every_form
@given(st.integers(0, 10**9), st.integers(0, 6))
@settings(max_examples=5, deadline=None)
def test_merged_parts_equal_the_whole(build, kind, options, seed, cut):
    options = {**options, "ignore_index": 255}
    pred, target = batch(kind, seed, ignored=0.2)
    first, second = (build(**options).update(pred[i], target[i]) for i in (slice(cut), slice(cut, None)))
    whole = score(build, options, (pred, target))
    assert plain(build(**options).merge(first).merge(build(**options)).merge(second).compute()) == whole
    assert plain(second.merge(first).compute()) == whole
    with torch.inference_mode():
        late = build(**options).update(pred[:cut], target[:cut])
    assert plain(late.update(pred[cut:], target[cut:]).compute()) == whole


@every_form
@given(st.integers(0, 10**9))
@settings(max_examples=5, deadline=None)
def test_order_repetition_and_ignored_pixels_change_no_digit(build, kind, options, seed):
    options = {**options, "ignore_index": 255}
    pred, target = batch(kind, seed, ignored=0.2)
    whole = score(build, options, (pred, target))
    if build is BoundaryDistance:  # where a pixel is matters
        turned = score(build, options, (pred[[3, 1, 2, 0, 5, 4]].mT, target[[3, 1, 2, 0, 5, 4]].mT))
        assert {name: float(value) for name, value in turned.items()} == pytest.approx(
            {name: float(value) for name, value in whole.items()}, nan_ok=True
        )
        return
    rng = torch.Generator().manual_seed(seed)
    pixels, images = torch.randperm(25, generator=rng), torch.randperm(6, generator=rng)
    shuffled = [x.flatten(1)[:, pixels].view_as(x)[images] for x in (pred, target)]
    assert score(build, options, shuffled) == whole
    ignored = (torch.cat([pred, pred], 2), torch.cat([target, torch.full_like(target, 255)], 2))
    assert score(build, options, ignored) == whole
    nothing = (pred, torch.full_like(target, 255))
    assert score(build, options, (pred, target), nothing) == whole
    if build is not ConfusionMatrix:
        assert score(build, options, (pred, target), (pred, target)) == whole
        assert score(build, options, (torch.cat([pred, pred]), torch.cat([target, target]))) == whole


@every_form
def test_layouts_and_dtypes_agree(build, kind, options):
    pred, target = batch(kind)
    want = score(build, options, (pred, target))
    dtypes = [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.uint64]
    if kind == BINARY:
        dtypes.append(np.bool_)
    for dtype in dtypes:
        p, t = (x.numpy() if x.is_floating_point() else x.numpy().astype(dtype) for x in (pred, target))
        backwards = np.ascontiguousarray(t[..., ::-1])[..., ::-1]
        read_only = t.copy()
        read_only.flags.writeable = False
        strided = np.asfortranarray(t)
        swapped = t.astype(t.dtype.newbyteorder(">"))
        for other in (t, backwards, read_only, strided, swapped, torch.from_numpy(t.copy())):
            assert score(build, options, (p, other)) == want
            if kind != PROBABILITIES:
                assert score(build, options, (other, p)) == score(build, options, (target, pred))
    if kind != LABELS:
        assert score(build, options, (pred[:, None], target)) == want
        channels_last = pred[:, None].contiguous(memory_format=torch.channels_last)
        assert score(build, options, (channels_last, target[:, None] * 100)) == want


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int64])
def test_negative_values_are_not_salt(dtype, monkeypatch):
    mask = torch.tensor([[[-1, 0, 1, -100]]], dtype=dtype)
    for on_cpu in (True, False):
        monkeypatch.setattr(_counts, "on_cpu", lambda *tensors, on_cpu=on_cpu: on_cpu)
        assert iou_score(mask, mask > 0) == 1


@pytest.mark.parametrize("build", FUNCTIONS, ids=lambda build: build.__name__)
def test_functions_equal_accumulators(build):
    for name, (other, kind, options) in FORMS.items():
        if other is not build:
            continue
        options = {**options, "ignore_index": 255}
        pred, target = batch(kind, ignored=0.3)
        got = FUNCTIONS[build](pred, target, **options)
        want = build(**options).update(pred, target).compute()
        if build is ConfusionMatrix:
            assert torch.equal(got, want.matrix), name
        else:
            assert np.asarray(got) == pytest.approx(np.asarray(want), rel=1e-6, nan_ok=True), name


@pytest.mark.filterwarnings("error")
def test_probabilities_may_have_a_gradient():
    pred, target = batch(PROBABILITIES)
    want = ThresholdSearch().update(pred, target).compute()
    got = ThresholdSearch().update(pred.clone().requires_grad_(), target).compute()
    assert plain(got) == plain(want)


@every_form
def test_update_waits_for_no_device(build, kind, options):
    """A tensor on meta has no values: reading one, or a shape that depends on one, is an error."""
    for ignore_index in (None, 255):
        pred, target = (x.to("meta") for x in batch(kind))
        metric = build(**options, ignore_index=ignore_index)
        state = metric.update(pred, target).update(pred, target)._state
        assert state.device.type == "meta"
        assert state.dtype == torch.int64
        if build in FUNCTIONS:
            FUNCTIONS[build](pred, target, **options, ignore_index=ignore_index)
        with pytest.raises(NotImplementedError, match="meta"):
            metric.compute()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_form
def test_a_gpu_is_not_waited_for_and_agrees(build, kind, options):
    options = {**options, "ignore_index": 255}
    pred, target = batch(kind, ignored=0.2)
    on_gpu = [x.cuda() for x in (pred, target)]
    metric = build(**options)
    torch.cuda.set_sync_debug_mode("error")
    try:
        metric.update(*on_gpu).update(*on_gpu)
        if build in FUNCTIONS:
            FUNCTIONS[build](*on_gpu, **options)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert plain(metric.compute()) == score(build, options, (pred, target), (pred, target))


@every_form
def test_the_path_of_other_devices_counts_alike(build, kind, options, monkeypatch):
    """The code for GPUs, run on the CPU, gives the same sums."""
    options = {**options, "ignore_index": 255}
    pred, target = batch(kind, ignored=0.2)
    want = score(build, options, (pred, target))
    monkeypatch.setattr(_counts, "on_cpu", lambda *tensors: False)
    assert score(build, options, (pred, target)) == want


@every_form
def test_parts_of_a_batch_add_up(build, kind, options, monkeypatch):
    pred, target = batch(kind)
    want = score(build, options, (pred, target))
    for pixels in (1, 60):
        monkeypatch.setattr(_counts, "PART", pixels)
        assert score(build, options, (pred, target)) == want


@every_form
def test_nothing_seen_has_no_score(build, kind, options):
    options = {**options, "ignore_index": 255}
    pred, target = batch(kind)
    blank = torch.full_like(target, 255)
    unseen = [build(**options), build(**options).update(pred[:0], target[:0]), build(**options).update(pred, blank)]
    unseen.append(build(**options).update(pred, target))
    unseen[-1].reset()
    for metric in unseen:
        with pytest.raises(ValueError, match=rf"{build.__name__} has seen no image.*update"):
            metric.compute()


@every_form
def test_merge_refuses_other_classes_and_options(build, kind, options):
    metric = build(**options)
    other = EmptyAccuracy() if build is not EmptyAccuracy else SaltMAP()
    with pytest.raises(TypeError, match=f"{build.__name__} must merge.*got a {type(other).__name__}"):
        metric.merge(other)
    with pytest.raises(ValueError, match=r"'ignore_index': None.*'ignore_index': 255.*same options"):
        metric.merge(build(**options, ignore_index=255))


def test_update_refuses_another_number_of_classes():
    binary, channels = torch.ones(1, 1, 2, 2).bool(), torch.ones(1, 3, 2, 2).bool()
    metric = IoUScore().update(binary, binary)
    with pytest.raises(ValueError, match=r"one number of classes, got 9 sums after 3.*reset"):
        metric.update(channels, channels)
    assert metric.compute() == 1


@pytest.mark.parametrize("name", ["iou", "search"])  # read_masks and read_probabilities
@pytest.mark.parametrize(
    ("pred", "target", "error", "message"),
    [
        (
            torch.ones(2, 4, 4).bool(),
            np.ones((2, 4, 4)),
            TypeError,
            "target_masks must be bool or integer, got float64: threshold first",
        ),
        ([[1]], np.ones((2, 4, 4), bool), TypeError, "got a list"),
        (np.ones((2, 4, 4), complex), np.ones((2, 4, 4), bool), TypeError, "got complex128"),
        (np.ones((4, 4), bool), np.ones((4, 4), bool), ValueError, r"N, H, W.*got \(4, 4\).*\[None\]"),
        (np.ones((2, 0, 4), bool), np.ones((2, 0, 4), bool), ValueError, "at least one pixel"),
        (np.ones((2, 4, 4), bool), np.ones((2, 4, 5), bool), ValueError, r"\(2, 4, 5\).*padding"),
        (np.ones((2, 2, 8), bool), np.ones((2, 4, 4), bool), ValueError, "must have the same shape"),
        (np.ones((3, 4, 4), bool), np.ones((2, 4, 4), bool), ValueError, "must have the same shape"),
        (
            torch.ones(2, 4, 4, device="meta").bool(),
            np.ones((2, 4, 4), bool),
            ValueError,
            "one device, got meta and cpu",
        ),
    ],
)
def test_errors_say_what_to_do(name, pred, target, error, message):
    build, kind, options = FORMS[name]
    if kind == PROBABILITIES and getattr(pred, "dtype", None) in (torch.bool, np.bool_):
        pred = pred * 0.5
    calls = [build(**options).update]
    if build in FUNCTIONS:
        calls.append(partial(FUNCTIONS[build], **options))
    for call in calls:
        with pytest.raises(error, match=message):
            call(pred, target)


@pytest.mark.parametrize("build", FUNCTIONS, ids=lambda build: build.__name__)
def test_probabilities_are_not_masks(build):
    options = {ConfusionMatrix: LABELLED, FBetaScore: {"beta": 1}}.get(build, {})
    target = torch.ones(2, 4, 4).bool()
    for call in (build(**options).update, partial(FUNCTIONS[build], **options)):
        with pytest.raises(
            TypeError, match=r"pred_masks must be bool or integer, got float32.*probabilities > 0\.5.*argmax"
        ):
            call(torch.rand(2, 4, 4), target)
        with pytest.raises(ValueError, match=r"target_masks|\(2, 2, 4, 4\)"):
            call(target[:, None].expand(-1, 2, -1, -1), target)
    with pytest.raises(ValueError, match=r"ignore_index=255 cannot occur.*bool"):
        build(**options, ignore_index=255).update(target, target)


def test_metrics_of_one_channel_refuse_several():
    masks = torch.ones(2, 2, 4, 4).bool()
    for call in (salt_map, empty_accuracy):
        with pytest.raises(ValueError, match=r"must be \(N, H, W\) or \(N, 1, H, W\).*got \(2, 2, 4, 4\)"):
            call(masks, masks)
    with pytest.raises(ValueError, match=r"must be labels \(N, H, W\).*got \(2, 2, 4, 4\)"):
        confusion_matrix(masks, masks, num_classes=2)
    with pytest.raises(ValueError, match=r"same shape.*num_classes="):
        iou_score(masks, masks[:, 0])


def test_no_image_has_no_mean():
    none = np.ones((0, 4, 4), bool)
    for build, function in FUNCTIONS.items():
        if build in (EmptyAccuracy, ConfusionMatrix):
            continue
        function = partial(function, beta=2) if build is FBetaScore else function
        if build is BoundaryDistance:
            assert all(part.isnan() for part in function(none, none))
            continue
        assert function(none, none).isnan()
        assert function(none, none, reduction="none").numel() == (0 if build is SaltMAP else 1)
        if build is not SaltMAP:
            assert function(none, none, average="per_image").isnan()
            assert function(none, none, average="per_image", reduction="none").shape == (0,)
        with pytest.raises(ValueError, match=r"unknown reduction 'sum': choose one of 'mean', 'none'"):
            function(none, none, reduction="sum")
    assert all(share.isnan() for share in empty_accuracy(none, none))
    assert confusion_matrix(none, none, num_classes=2).sum() == 0


def test_sync_alone_changes_nothing():
    pred, target = batch(BINARY)
    metric = SaltMAP().update(pred, target).sync()
    assert metric.compute() == SaltMAP().update(pred, target).compute()


def worker(rank, world, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    try:
        results = []
        # Both processes see a part of the batch; or the second alone sees all of it.
        for shares in ((slice(4), slice(4, None)), (None, slice(None))):
            for build, kind, options in FORMS.values():
                metric = build(**options)
                pred, target = batch(kind, 7)
                if shares[rank] is not None:
                    metric.update(pred[shares[rank]], target[shares[rank]])
                results.append(plain(metric.sync().compute()))
                with pytest.raises(ValueError, match="holds the sums of all processes already"):
                    metric.sync()
                metric.reset()
                assert metric.sync() is metric
        with pytest.raises(ValueError, match="has seen no image"):
            IoUScore().sync().compute()
        odd = torch.ones(1, 1 + rank, 2, 2).bool()  # one process has binary masks, the other two channels
        with pytest.raises(ValueError, match="same number of classes, got 3 to 6 sums"):
            IoUScore().update(odd, odd).sync()
        (folder / f"{rank}").write_text(repr(results))
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")
def test_sync_of_two_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(worker, (2, tmp_path), nprocs=2)
    want = repr(2 * [score(build, options, batch(kind, 7)) for build, kind, options in FORMS.values()])
    assert [(tmp_path / rank).read_text() for rank in "01"] == [want, want]
