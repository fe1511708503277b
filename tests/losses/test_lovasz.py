"""Both Lovász losses against the paper pixel by pixel, against SMP, and against the Jaccard loss itself."""

from functools import partial

import pytest
import torch
from _loss_cases import IGNORED, batch, gradient
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.losses import _ranking, lovasz_hinge, lovasz_softmax

FORMS = [(margin, symmetric) for margin in ("relu", "elu") for symmetric in (False, True)]


def paper(logits, target, margin):
    """Return definition 1 and equation 9 of arXiv 1705.08790 for one image, pixel by pixel."""
    push = {"relu": lambda e: e.clamp(min=0), "elu": lambda e: torch.where(e > 0, e + 1, e.exp())}[margin]
    pixels = zip(logits.flatten(), target.flatten(), strict=True)
    return rising([(1 - x * (2 * y - 1), y) for x, y in pixels if y != IGNORED], push)


def paper_softmax(logits, target, chosen):
    """Return equations 11 and 12 for one image (C H W) and one class, pixel by pixel."""
    shares = (logits.exp() / logits.exp().sum(0))[chosen]
    pixels = [(p, int(y == chosen)) for p, y in zip(shares.flatten(), target.flatten(), strict=True) if y != IGNORED]
    return rising([((1 - p) if y else p, y) for p, y in pixels], lambda error: error)


def rising(pixels, push):
    """Return the sum of pushed errors times the rise of the Jaccard loss. Pixels are (error, is salt)."""
    pixels = sorted(pixels, key=lambda pixel: -pixel[0].item())
    union = sum(int(y) for _, y in pixels)  # union of the truth and the wrong pixels
    loss, before = torch.zeros((), dtype=torch.float64), 0.0
    for wrong, (error, y) in enumerate(pixels, start=1):
        union += 1 - int(y)
        jaccard = wrong / union
        loss = loss + push(error) * (jaccard - before)
        before = jaccard
    return loss


def mirrored(target):
    return torch.where(target == 255, target, 1 - target)


@given(st.integers(0, 10**6), st.sampled_from(FORMS), st.sampled_from([0.0, 0.3, 0.9]), st.booleans())
@settings(max_examples=20, deadline=None)
def test_lovasz_equals_the_paper(seed, form, ignored, per_image):
    margin, symmetric = form
    logits, target = batch(1, seed, ignored=ignored, dtype=torch.float64)

    def ours(x, y):
        options = {"per_image": per_image, "ignore_index": 255, "reduction": "none"}
        return lovasz_hinge(x, y, margin=margin, symmetric=symmetric, **options)

    def theirs(x, y):
        images = list(zip(x, y, strict=True)) if per_image else [(x, y)]
        losses = [paper(a, b, margin) for a, b in images]
        if symmetric:
            losses = [(c + paper(-a, mirrored(b), margin)) / 2 for c, (a, b) in zip(losses, images, strict=True)]
        return torch.stack(losses) + 0 * x.sum()  # keeps a graph even if all pixels are ignored

    for got, want in zip(gradient(ours, logits, target), gradient(theirs, logits, target), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("ignore_index", [None, 255])
def test_lovasz_equals_smp(per_image, ignore_index):
    smp = pytest.importorskip("segmentation_models_pytorch").losses.LovaszLoss
    logits, target = batch(1, size=(3, 41, 41), ignored=0.2 if ignore_index else 0.0)
    logits, target = logits[:, None], target[:, None]
    options = {"per_image": per_image, "ignore_index": ignore_index}
    ours = gradient(partial(lovasz_hinge, **options), logits, target)
    theirs = gradient(smp("binary", **options), logits, target)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-6)
    # SMP subtracts neighbouring Jaccard losses, each rounded at 6e-8.
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-7)


def test_lovasz_of_hard_errors_is_the_jaccard_loss():
    _, target = batch(1, size=(5, 9, 9))
    wrong = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    logits = torch.where(wrong, 0.0, 2.0 * target - 1)  # error 1 where wrong, else 0
    salt, pred = target == 1, (target == 1) ^ wrong
    iou = (salt & pred).sum((1, 2)) / (salt | pred).sum((1, 2))
    torch.testing.assert_close(lovasz_hinge(logits, target, reduction="none"), 1 - iou)


def test_the_hinge_on_an_empty_mask():
    """The plain hinge is the margin of the highest logit; the symmetric one adds the mean of all margins."""
    logits = batch(1)[0].clamp(min=-0.9)
    empty = torch.zeros(4, 5, 7)
    for margin in ("relu", "elu"):
        plain, slope = gradient(partial(lovasz_hinge, margin=margin, reduction="none"), logits, empty)
        push = (1 + logits).flatten(1) + (margin == "elu")
        torch.testing.assert_close(plain, push.amax(1))
        assert (slope.flatten(1) > 0).sum(1).tolist() == [1] * 4
        assert (slope.flatten(1).argmax(1) == logits.flatten(1).argmax(1)).all()
        both, _ = gradient(partial(lovasz_hinge, margin=margin, symmetric=True, reduction="none"), logits, empty)
        torch.testing.assert_close(both, (push.amax(1) + push.mean(1)) / 2)


@pytest.mark.parametrize("symmetric", [False, True])
def test_above_a_half_is_salt(symmetric):
    logits, target = batch(1)
    shares = torch.where(target == 1, 0.51, 0.5)
    loss = partial(lovasz_hinge, symmetric=symmetric)
    torch.testing.assert_close(gradient(loss, logits, shares), gradient(loss, logits, target))


def test_softmax_of_two_classes_distinguishes_tiny_probabilities():
    """For confident predictions 1 - p rounds to the same number for both pixels, p does not."""
    logits = torch.tensor([[[[10.0, 9.0]], [[-8.5, -9.0]]]])
    _, slope = gradient(partial(lovasz_softmax, classes="all", reduction="sum"), logits, torch.zeros(1, 1, 2).long())
    assert slope[0, 1, 0, 1] > 10 * slope[0, 1, 0, 0]
    assert lovasz_softmax(logits, torch.zeros(1, 1, 2).long(), classes="all", reduction="none")[0, 1] > 1.5e-8


def test_the_hinge_of_channels_is_the_mean_of_theirs():
    logits, target = batch(-3)
    apart = torch.stack([lovasz_hinge(logits[:, c], target[:, c], reduction="none") for c in range(3)], 1)
    torch.testing.assert_close(lovasz_hinge(logits, target, reduction="none"), apart)
    torch.testing.assert_close(lovasz_hinge(logits, target), apart.mean())


@given(st.integers(0, 10**6), st.integers(2, 4), st.sampled_from([0.0, 0.3, 0.9]), st.booleans(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_softmax_equals_the_paper(seed, count, ignored, per_image, present):
    logits, target = batch(count, seed, size=(3, 3, 5), ignored=ignored, dtype=torch.float64)
    options = {"classes": "present" if present else "all", "per_image": per_image, "ignore_index": IGNORED}

    def theirs(x, y):
        images = list(zip(x, y, strict=True)) if per_image else [(x.movedim(1, 0), y)]
        losses = []
        for a, b in images:
            kept = [c for c in range(count) if not present or (b == c).any()]
            if (b != IGNORED).any():
                losses.append(torch.stack([paper_softmax(a, b, c) for c in kept]).mean())
        return torch.stack([*losses, 0 * x.sum()]).sum() / max(1, len(losses))

    ours = partial(lovasz_softmax, **options)
    for got, want in zip(gradient(ours, logits, target), gradient(theirs, logits, target), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("ignore_index", [None, IGNORED])
def test_softmax_equals_smp(count, per_image, ignore_index):
    smp = pytest.importorskip("segmentation_models_pytorch").losses.LovaszLoss
    logits, target = batch(count, size=(3, 41, 41), ignored=0.2 if ignore_index else 0.0)
    options = {"per_image": per_image, "ignore_index": ignore_index}
    ours = gradient(partial(lovasz_softmax, **options), logits, target)
    theirs = gradient(smp("multiclass", **options), logits, target)
    # SMP counts in float32 and subtracts neighbouring Jaccard losses, each rounded at 6e-8.
    torch.testing.assert_close(ours[0], theirs[0], rtol=5e-5, atol=1e-6)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-7)


def test_softmax_of_sure_answers_is_the_jaccard_loss():
    _, target = batch(4, size=(5, 9, 9))
    predicted = torch.where(
        torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.3, (target + 1) % 4, target
    )
    logits = 200.0 * torch.nn.functional.one_hot(predicted, 4).movedim(-1, 1)
    want = torch.zeros(5, 4)
    for n in range(5):
        for c in range(4):
            a, b = predicted[n] == c, target[n] == c
            want[n, c] = 1 - (a & b).sum() / (a | b).sum().clamp(min=1) if (a | b).any() else 0
    torch.testing.assert_close(lovasz_softmax(logits, target, classes="all", reduction="none"), want)


def test_long_rows_are_ranked_alike(monkeypatch):
    """The long rows of a batch ranked as one image are sorted by another algorithm."""
    errors = torch.rand(3, 1000, dtype=torch.float64)
    want = [[row[i] for i in order] for row, order in zip(errors.tolist(), _ranking.rank(errors).tolist(), strict=True)]
    monkeypatch.setattr(_ranking, "_LONG", 1000)
    got = [[row[i] for i in order] for row, order in zip(errors.tolist(), _ranking.rank(errors).tolist(), strict=True)]
    assert got == want == [sorted(row, reverse=True) for row in errors.tolist()]
    cases = [(lovasz_hinge, batch(1, size=(4, 50, 50))), (lovasz_softmax, batch(3, size=(4, 50, 50)))]
    for loss, pair in cases:
        loss = partial(loss, per_image=False)
        radix = gradient(loss, *pair)
        monkeypatch.setattr(_ranking, "_LONG", 10**9)
        for a, b in zip(radix, gradient(loss, *pair), strict=True):
            torch.testing.assert_close(a, b)
        monkeypatch.setattr(_ranking, "_LONG", 1000)


def test_the_whole_batch_has_one_value():
    assert lovasz_hinge(*batch(1), per_image=False, reduction="none").shape == (1,)
    assert lovasz_softmax(*batch(3), per_image=False, reduction="none").shape == (1, 3)
