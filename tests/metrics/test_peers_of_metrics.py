"""Every metric under torch.vmap and torch.compile, against other libraries that run without them."""

from functools import partial

import numpy as np
import pytest
import torch

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
    search_threshold,
    specificity_score,
)

pytestmark = pytest.mark.slow
IGNORED = 255
BINARY, CHANNELS, LABELS = "binary", "multilabel", "multiclass"
ONE = {BINARY: {}, CHANNELS: {"num_labels": 3}, LABELS: {"num_classes": 4}}
MEANS = {BINARY: {}, CHANNELS: {"average": "macro"}, LABELS: {"average": "weighted"}}
OURS = {BINARY: {}, CHANNELS: {}, LABELS: {"num_classes": 4, "class_average": "weighted"}}


def torchmetrics(name, kind, **options):
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    return partial(getattr(theirs, f"{kind}_{name}"), **ONE[kind], **options)


def tgs_score(pred, target):
    """Return the competition's score image by image, as its page defines it."""
    scores = []
    for p, t in zip(pred.bool().numpy(), target.numpy(), strict=True):
        p, t = p[t != IGNORED], t[t != IGNORED] > 0
        iou = (p & t).sum() / (p | t).sum() if (p | t).any() else 1.0
        scores.append(np.mean([iou > k / 100 for k in range(50, 100, 5)]))
    return torch.tensor(np.mean(scores))


def empty_shares(pred, target):
    truth = np.array([(t == 1).any().item() for t in target])
    right = np.array([p[t != IGNORED].any().item() for p, t in zip(pred, target, strict=True)]) == truth
    return torch.tensor([right.mean(), right[~truth].mean(), right[truth].mean()])


def outlines(pred, target):
    pytest.importorskip("scipy")
    metrics = pytest.importorskip("monai.metrics")
    p, t = pred[:, None].bool(), target[:, None].bool()
    mean = metrics.compute_average_surface_distance(p, t, include_background=True, symmetric=True)
    top = metrics.compute_hausdorff_distance(p, t, include_background=True, percentile=95)
    return torch.stack([mean.float().mean(), top.float().mean()])


RATES = {
    "jaccard_index": (iou_score, IoUScore, {}),
    "f1_score": (dice_score, DiceScore, {}),
    "precision": (precision_score, PrecisionScore, {}),
    "recall": (recall_score, RecallScore, {}),
    "specificity": (specificity_score, SpecificityScore, {}),
    "fbeta_score": (fbeta_score, FBetaScore, {"beta": 0.7}),
}
# Name -> kind of the masks, whether pixels are ignored, function, accumulator, their options, and the other function.
PAIRS = {
    **{
        f"{kind} {name}": (
            kind,
            True,
            function,
            build,
            {**more, **OURS[kind]},
            partial(torchmetrics, name, kind, ignore_index=IGNORED, **MEANS[kind], **more),
        )
        for name, (function, build, more) in RATES.items()
        for kind in (BINARY, CHANNELS, LABELS)
    },
    "matthews": (
        BINARY,
        True,
        matthews_score,
        MatthewsScore,
        {},
        partial(torchmetrics, "matthews_corrcoef", BINARY, ignore_index=IGNORED),
    ),
    "matthews of labels": (
        LABELS,
        True,
        matthews_score,
        MatthewsScore,
        {"num_classes": 4, "class_average": "micro"},
        partial(torchmetrics, "matthews_corrcoef", LABELS, ignore_index=IGNORED),
    ),
    "accuracy": (
        BINARY,
        True,
        pixel_accuracy,
        PixelAccuracy,
        {},
        partial(torchmetrics, "accuracy", BINARY, ignore_index=IGNORED),
    ),
    "accuracy of channels": (
        CHANNELS,
        True,
        pixel_accuracy,
        PixelAccuracy,
        {},
        partial(torchmetrics, "accuracy", CHANNELS, ignore_index=IGNORED, average="macro"),
    ),
    "accuracy of labels": (
        LABELS,
        True,
        pixel_accuracy,
        PixelAccuracy,
        {"num_classes": 4},
        partial(torchmetrics, "accuracy", LABELS, ignore_index=IGNORED, average="micro"),
    ),
    "accuracy of some labels": (
        LABELS,
        False,
        pixel_accuracy,
        PixelAccuracy,
        {"num_classes": 4, "classes": (1, 2, 3)},
        partial(torchmetrics, "accuracy", LABELS, ignore_index=0, average="micro"),
    ),
    "confusion": (
        LABELS,
        True,
        confusion_matrix,
        ConfusionMatrix,
        {"num_classes": 4},
        partial(torchmetrics, "confusion_matrix", LABELS, ignore_index=IGNORED),
    ),
    "salt_map": (BINARY, True, salt_map, SaltMAP, {}, lambda: tgs_score),
    "empty": (BINARY, True, empty_accuracy, EmptyAccuracy, {}, lambda: empty_shares),
    "boundary": (BINARY, False, boundary_distance, BoundaryDistance, {}, lambda: outlines),
}
every_pair = pytest.mark.parametrize("name", PAIRS)


def masks(kind, seed, ignored):
    rng = torch.Generator().manual_seed(seed)
    classes = 4 if kind == LABELS else 2
    shape = (3, 3, 9, 8) if kind == CHANNELS else (3, 9, 8)
    target = torch.randint(classes, shape, generator=rng)
    pred = torch.where(torch.rand(shape, generator=rng) < 0.6, target, torch.randint(classes, shape, generator=rng))
    if ignored:
        target[0] = 0
        target[torch.rand(shape, generator=rng) < 0.2] = IGNORED
    return pred, target


def numbers(score):
    """Return a score as one tensor of float64; of a confusion matrix, its counts."""
    if isinstance(score, tuple):
        score = torch.stack([torch.as_tensor(part) for part in score], -1)
    return torch.as_tensor(getattr(score, "matrix", score)).double()


def close(got, want):
    torch.testing.assert_close(numbers(got), numbers(want), rtol=1e-6, atol=1e-6)


def pair(name):
    kind, ignored, function, build, options, peer = PAIRS[name]
    options = {**options, "ignore_index": IGNORED} if ignored else options
    return partial(function, **options), partial(build, **options), peer(), [masks(kind, s, ignored) for s in range(3)]


@every_pair
def test_plain(name):
    function, build, theirs, batches = pair(name)
    metric = build()
    for pred, target in batches:
        close(function(pred, target), theirs(pred.clone(), target.clone()))
        metric.update(pred, target)
    close(metric.compute(), theirs(*map(torch.cat, zip(*batches, strict=True))))


@every_pair
def test_vmap(name):
    function, _, theirs, batches = pair(name)
    pred, target = map(torch.stack, zip(*batches, strict=True))
    close(torch.vmap(function)(pred, target), torch.stack([theirs(p.clone(), t.clone()) for p, t in batches]))
    want = torch.stack([theirs(p.clone(), target[1].clone()) for p in pred])
    close(torch.vmap(function, (0, None))(pred, target[1]), want)
    want = torch.stack([theirs(pred[1].clone(), t.clone()) for t in target])
    close(torch.vmap(function, (None, 0))(pred[1], target), want)


@every_pair
def test_compile(name):
    torch._dynamo.reset()
    function, build, theirs, batches = pair(name)
    metric = build()
    score, update = (
        torch.compile(function, fullgraph=True, backend="aot_eager"),
        torch.compile(metric.update, backend="aot_eager"),
    )
    for pred, target in batches:
        close(score(pred, target), theirs(pred.clone(), target.clone()))
        update(pred, target)
    close(metric.compute(), theirs(*map(torch.cat, zip(*batches, strict=True))))


@every_pair
def test_compiled_vmap(name):
    torch._dynamo.reset()
    function, _, theirs, batches = pair(name)
    score = torch.compile(torch.vmap(function), fullgraph=True, backend="aot_eager")
    want = torch.stack([theirs(p.clone(), t.clone()) for p, t in batches])
    close(score(*map(torch.stack, zip(*batches, strict=True))), want)


@pytest.mark.parametrize("metric", ["salt_map", "iou", "dice"])
def test_threshold_search(metric):
    torch._dynamo.reset()
    score = {"salt_map": salt_map, "iou": partial(iou_score, average="per_image")}.get(
        metric, partial(dice_score, average="per_image")
    )
    target = masks(BINARY, 0, ignored=True)[1]
    p = torch.rand(target.shape, generator=torch.Generator().manual_seed(1))
    options = {"thresholds": 11, "metric": metric, "ignore_index": IGNORED}
    want = [score(p > k / 10, target, ignore_index=IGNORED).item() for k in range(11)]
    search = ThresholdSearch(**options)
    torch.compile(search.update, backend="aot_eager")(p, target)
    np.testing.assert_allclose(search.compute().scores[:, 0], want, rtol=1e-6)
    np.testing.assert_allclose(search_threshold(p, target, **options).scores[:, 0], want, rtol=1e-6)
    state = torch.vmap(lambda x, y: ThresholdSearch(**options).update(x, y)._state)(p[None], target[None])
    assert torch.equal(state[0], search._state)
    for dims in ((0, None), (None, 0)):
        given = [x if dim is None else x[None] for x, dim in zip((p, target), dims, strict=True)]
        state = torch.vmap(lambda x, y: ThresholdSearch(**options).update(x, y)._state, dims)(*given)
        assert torch.equal(state[0], search._state)
