"""Precision, recall, F-beta, specificity, Matthews; classes and means over them; against torchmetrics and by hand."""

from functools import partial

import pytest
import torch

from saltzoo.metrics import (
    ConfusionMatrix,
    DiceScore,
    FBetaScore,
    IoUScore,
    MatthewsScore,
    PrecisionScore,
    RecallScore,
    SaltMAP,
    SpecificityScore,
    confusion_scores,
    dice_score,
    fbeta_score,
    iou_score,
    matthews_score,
    precision_score,
    recall_score,
    salt_map,
    specificity_score,
)

IGNORED = 255
ours = {
    "precision": precision_score,
    "recall": recall_score,
    "specificity": specificity_score,
    "fbeta_score": partial(fbeta_score, beta=0.7),
    "jaccard_index": iou_score,
    "f1_score": dice_score,
}
every_score = pytest.mark.parametrize("name", ours)
every_mean = pytest.mark.parametrize("mean", ["macro", "micro", "weighted", "none"])


def masks(seed, classes=4, ignored=0.0, shape=(5, 9, 11)):
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, shape, generator=rng)
    pred = torch.where(torch.rand(shape, generator=rng) < 0.6, target, torch.randint(classes, shape, generator=rng))
    target[torch.rand(shape, generator=rng) < ignored] = IGNORED
    return pred, target


def peer(kind, name, **options):
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    more = {"beta": 0.7} if name == "fbeta_score" else {}
    return partial(getattr(theirs, f"{kind}_{name}"), **more, **options)


def ours_with(name, mean, **options):
    reduction = {"reduction": "none"} if mean == "none" else {"class_average": mean}
    return partial(ours[name], **reduction, **options)


@pytest.mark.parametrize("ignored", [0.0, 0.3])
@every_mean
@every_score
def test_scores_of_labels_equal_torchmetrics(name, mean, ignored):
    pred, target = masks(0, ignored=ignored)
    options = {"num_classes": 4, "ignore_index": IGNORED if ignored else None}
    want = peer("multiclass", name, average=mean, **options)(pred, target)
    torch.testing.assert_close(ours_with(name, mean, **options)(pred, target), want)


@pytest.mark.parametrize("ignored", [0.0, 0.3])
@every_mean
@every_score
def test_scores_of_channels_equal_torchmetrics(name, mean, ignored):
    pred, target = masks(1, classes=2, ignored=ignored, shape=(5, 3, 9, 11))
    pred[:, 1] &= pred[:, 0]
    index = IGNORED if ignored else None
    want = peer("multilabel", name, num_labels=3, average=mean, ignore_index=index)(pred, target)
    torch.testing.assert_close(ours_with(name, mean, ignore_index=index)(pred, target), want)


@pytest.mark.parametrize("ignored", [0.0, 0.3])
@every_score
def test_scores_of_masks_equal_torchmetrics(name, ignored):
    pred, target = masks(2, classes=2, ignored=ignored)
    index = IGNORED if ignored else None
    want = peer("binary", name, ignore_index=index)(pred, target)
    torch.testing.assert_close(ours[name](pred, target, ignore_index=index), want)


@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_matthews_equals_torchmetrics(ignored):
    index = IGNORED if ignored else None
    pred, target = masks(3, classes=2, ignored=ignored)
    want = peer("binary", "matthews_corrcoef", ignore_index=index)(pred, target)
    torch.testing.assert_close(matthews_score(pred, target, ignore_index=index), want)
    pred, target = masks(3, ignored=ignored)
    want = peer("multiclass", "matthews_corrcoef", num_classes=4, ignore_index=index)(pred, target)
    options = {"num_classes": 4, "ignore_index": index, "class_average": "micro"}
    torch.testing.assert_close(matthews_score(pred, target, **options), want)
    assert MatthewsScore(**options).update(pred, target).compute() == pytest.approx(want.item())
    one_by_one = [
        peer("binary", "matthews_corrcoef")(pred[target != IGNORED] == c, target[target != IGNORED] == c)
        for c in range(4)
    ]
    options = {"num_classes": 4, "ignore_index": index}
    torch.testing.assert_close(matthews_score(pred, target, reduction="none", **options), torch.stack(one_by_one))
    pred, target = masks(3, classes=2, ignored=ignored, shape=(5, 3, 9, 11))
    want = peer("multilabel", "matthews_corrcoef", num_labels=3, ignore_index=index)(pred, target)
    torch.testing.assert_close(matthews_score(pred, target, class_average="micro", ignore_index=index), want)


def test_each_image_alone():
    pred, target = masks(4, ignored=0.2)
    options = {"num_classes": 4, "ignore_index": IGNORED}
    for score in (*ours.values(), matthews_score):
        for mean in ("macro", "micro", "weighted"):
            images = [score(p[None], t[None], class_average=mean, **options) for p, t in zip(pred, target, strict=True)]
            got = score(pred, target, average="per_image", class_average=mean, **options)
            torch.testing.assert_close(got, torch.stack(images).mean())


ACCUMULATORS = {
    "precision": PrecisionScore,
    "recall": RecallScore,
    "specificity": SpecificityScore,
    "fbeta_score": partial(FBetaScore, beta=0.7),
    "jaccard_index": IoUScore,
    "f1_score": DiceScore,
}


@pytest.mark.parametrize("empty", ["perfect", "skip", "present"])
@pytest.mark.parametrize("average", ["micro", "per_image"])
@every_score
def test_accumulators_equal_functions_over_batches(name, average, empty):
    pred, target = masks(5, ignored=0.2, shape=(6, 3, 3))
    pred[:3], target[1:4] = pred[:3] // 2, target[1:4] // 2
    target[target == IGNORED // 2] = IGNORED
    target[5] = IGNORED
    for more in ({}, {"class_average": "weighted"}, {"class_average": "micro"}, {"classes": [3, 1]}):
        options = {"average": average, "empty": empty, "num_classes": 4, "ignore_index": IGNORED, **more}
        metric = ACCUMULATORS[name](**options).update(pred[:2], target[:2]).update(pred[2:], target[2:])
        assert metric.compute() == pytest.approx(ours[name](pred, target, **options).item(), abs=1e-6)


# found, false alarms, missed, background -> score with "perfect"
@pytest.mark.parametrize(
    ("pixels", "scores"),
    [
        ((0, 0, 0, 4), {"precision": 1, "recall": 1, "specificity": 1, "fbeta_score": 1, "matthews": 1}),
        ((4, 0, 0, 0), {"precision": 1, "recall": 1, "specificity": 1, "fbeta_score": 1, "matthews": 1}),
        ((0, 4, 0, 0), {"precision": 0, "recall": 0, "specificity": 0, "fbeta_score": 0, "matthews": -1}),
        ((0, 0, 4, 0), {"precision": 0, "recall": 0, "specificity": 0, "fbeta_score": 0, "matthews": -1}),
        ((0, 2, 2, 0), {"precision": 0, "recall": 0, "specificity": 0, "fbeta_score": 0, "matthews": -1}),
        ((0, 1, 0, 3), {"precision": 0, "recall": 0, "specificity": 0.75, "fbeta_score": 0, "matthews": 0}),
        ((0, 0, 1, 3), {"precision": 0, "recall": 0, "specificity": 1, "fbeta_score": 0, "matthews": 0}),
        ((2, 0, 2, 0), {"precision": 1, "recall": 0.5, "specificity": 0, "fbeta_score": 1.49 / 1.98, "matthews": 0}),
    ],
)
def test_empty_and_full_masks_have_scores(pixels, scores):
    pred = torch.tensor([1] * pixels[0] + [1] * pixels[1] + [0] * pixels[2] + [0] * pixels[3])[None, None]
    truth = torch.tensor([1] * pixels[0] + [0] * pixels[1] + [1] * pixels[2] + [0] * pixels[3])[None, None]
    for name, want in scores.items():
        score = matthews_score if name == "matthews" else ours[name]
        for average in ("micro", "per_image"):
            assert score(pred, truth, average=average) == pytest.approx(want)
            skipped, present = (score(pred, truth, average=average, empty=empty) for empty in ("skip", "present"))
            assert skipped.isnan() if pixels[3] == 4 else skipped == pytest.approx(want)
            assert present.isnan() if pixels[0] + pixels[2] == 0 else present == pytest.approx(want)


def test_scores_over_tiles_with_salt():
    truth = torch.tensor([[[1, 1, 0, 0]], [[0, 0, 0, 0]], [[1, 1, 1, 1]]])
    pred = torch.tensor([[[1, 0, 0, 0]], [[1, 0, 0, 0]], [[1, 1, 1, 0]]])
    salt = [0, 2]
    for score in (*ours.values(), matthews_score):
        for average in ("micro", "per_image"):
            want = score(pred[salt], truth[salt], average=average)
            torch.testing.assert_close(score(pred, truth, average=average, empty="present"), want)
    assert salt_map(pred, truth, empty="present") == salt_map(pred[salt], truth[salt])
    scores = salt_map(pred, truth, empty="present", reduction="none")
    assert scores.isnan().tolist() == [False, True, False]
    metric = SaltMAP(empty="present").update(pred[:2], truth[:2]).update(pred[2:], truth[2:])
    assert metric.compute() == pytest.approx(salt_map(pred[salt], truth[salt]).item())
    pred[1] = 0
    assert salt_map(pred, truth, empty="skip") == salt_map(pred[salt], truth[salt])


def test_a_fold_without_salt_has_no_score_over_salt():
    truth = torch.zeros(2, 3, 3).long()
    metrics = [SaltMAP(empty="present"), SaltMAP(empty="skip")]
    for build in (*ACCUMULATORS.values(), MatthewsScore):
        metrics += [build(average=average, empty="present") for average in ("micro", "per_image")]
    for metric in metrics:
        result = metric.update(truth, truth).compute()
        assert result != result
        with pytest.raises(ValueError, match="has seen no image"):
            type(metric)(**metric._options).compute()


def test_some_classes_are_columns():
    pred, target = masks(6)
    pred[0], target[0] = 0, 0
    for score in (*ours.values(), matthews_score):
        for average in ("micro", "per_image"):
            columns = score(pred, target, num_classes=4, average=average, reduction="none")
            options = {"num_classes": 4, "average": average, "classes": [3, 1]}
            assert torch.equal(score(pred, target, reduction="none", **options), columns[..., [3, 1]])
            torch.testing.assert_close(score(pred, target, **options), columns[..., [3, 1]].mean())
            one = score(pred, target, num_classes=4, average=average, classes=[2], reduction="none")
            assert torch.equal(one, columns[..., 2])
    channels = pred[:, None] == torch.arange(3)[:, None, None]
    truth = target[:, None] == torch.arange(3)[:, None, None]
    assert iou_score(channels, truth, classes=[1]) == iou_score(channels[:, 1], truth[:, 1])


def test_the_weighted_mean_weighs_the_truth():
    pred, target = masks(7)
    target[target == 3] = 0
    for score in (*ours.values(), matthews_score):
        each = score(pred, target, num_classes=4, reduction="none")
        support = target.flatten().bincount(minlength=4)
        want = (each * support).sum() / support.sum()
        torch.testing.assert_close(score(pred, target, num_classes=4, class_average="weighted"), want)


def test_fbeta_of_1_is_dice_and_tends_to_its_parts():
    pred, target = masks(8, classes=2)
    torch.testing.assert_close(fbeta_score(pred, target, beta=1), dice_score(pred, target))
    torch.testing.assert_close(fbeta_score(pred, target, beta=1e-6), precision_score(pred, target))
    torch.testing.assert_close(fbeta_score(pred, target, beta=1e6), recall_score(pred, target))


def test_counts_of_large_masks_keep_their_digits():
    """In float32 or int64 the products of counts would overflow or lose their digits."""
    pred, truth = torch.zeros(2, 2, 3000, 3000, dtype=torch.bool)
    pred[:, :1000], truth[:, :1500] = True, True
    tp, fn, total = 2 * 1000 * 3000, 2 * 500 * 3000, 2 * 3000 * 3000
    want = (tp * total - tp * (tp + fn)) / (tp * (total - tp) * (tp + fn) * (total - tp - fn)) ** 0.5
    assert MatthewsScore().update(pred, truth).compute() == pytest.approx(want, rel=1e-14)


def test_means_of_a_confusion_matrix_over_some_classes():
    pred, target = masks(9)
    options = {"num_classes": 4, "classes": [1, 2]}
    scores = ConfusionMatrix(**options).update(pred, target).compute()
    assert scores.matrix.shape == (4, 4)
    assert scores.mean_iou == pytest.approx(iou_score(pred, target, **options).item())
    weighted = iou_score(pred, target, class_average="weighted", **options).item()
    assert scores.frequency_weighted_iou == pytest.approx(weighted)
    assert confusion_scores(scores.matrix, classes=[1, 2]).mean_iou == scores.mean_iou


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"classes": [4], "num_classes": 4}, ValueError, r"classes must be different numbers from 0 to 3.*got \[4\]"),
        ({"classes": 1, "num_classes": 4}, TypeError, "classes must be a list of whole numbers"),
        (
            {"class_average": "mean"},
            ValueError,
            "unknown class_average 'mean': choose one of 'macro', 'micro', 'weighted'",
        ),
        ({"empty": "ignore"}, ValueError, "unknown empty 'ignore': choose one of 'perfect', 'skip', 'present'"),
    ],
)
def test_options_that_are_refused(options, error, words):
    for name, score in ours.items():
        with pytest.raises(error, match=words):
            score(*masks(0), **options)
        with pytest.raises(error, match=words):
            ACCUMULATORS[name](**options)
    with pytest.raises(ValueError, match="from 0 to 0"):
        iou_score(*masks(0, classes=2), classes=[1])
    for beta in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="beta must be"):
            FBetaScore(beta=beta)
    for call in (partial(matthews_score, *masks(0)), MatthewsScore):
        with pytest.raises(ValueError, match="classes must be None for class_average='micro' of labels"):
            call(num_classes=4, classes=[1, 2], class_average="micro")
    with pytest.raises(ValueError, match="unknown empty 'ignore'"):
        SaltMAP(empty="ignore")


@pytest.mark.parametrize("build", [PrecisionScore, RecallScore, SpecificityScore])
def test_an_option_of_another_metric_is_refused(build):
    with pytest.raises(TypeError, match="beta"):
        build(beta=2.0)


def test_scores_of_two_betas_do_not_merge():
    with pytest.raises(ValueError, match=r"the same options to merge, got .*'beta': 1.* and .*'beta': 2"):
        FBetaScore(beta=1).merge(FBetaScore(beta=2))
