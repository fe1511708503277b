"""Cross-entropies of pixels (plain, focal, bootstrapped) against torch, torchvision and plain arithmetic."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from _loss_cases import IGNORED, batch, gradient
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.losses import bce_loss, bootstrapped_bce, bootstrapped_ce, ce_loss, focal_loss

every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


@every_reduction
@pytest.mark.parametrize("pos_weight", [1.0, 2.5])
def test_bce_equals_torch(reduction, pos_weight):
    logits, target = batch(1)
    weight = torch.tensor(pos_weight)
    want = F.binary_cross_entropy_with_logits(logits, target.float(), pos_weight=weight, reduction=reduction)
    for dtype in (torch.bool, torch.int64, torch.float32):
        got = bce_loss(logits, target.to(dtype), pos_weight=pos_weight, reduction=reduction)
        torch.testing.assert_close(got, want)


def test_bce_takes_probabilities_and_ignores_some():
    logits, target = batch(1, ignored=0.3)
    keep, soft = target != IGNORED, torch.where(target == IGNORED, 255.0, 0.25)
    want = F.binary_cross_entropy_with_logits(logits[keep], soft[keep])
    torch.testing.assert_close(bce_loss(logits, soft, ignore_index=IGNORED), want)


@every_reduction
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("count", [2, 5])
def test_ce_equals_torch(reduction, smoothing, count):
    logits, target = batch(count, ignored=0.3)
    options = {"label_smoothing": smoothing, "ignore_index": IGNORED, "reduction": reduction}
    torch.testing.assert_close(ce_loss(logits, target, **options), F.cross_entropy(logits, target, **options))


def test_ce_of_nothing_is_zero_and_not_nan():
    logits, target = batch(3)
    nothing = torch.full_like(target, IGNORED)
    assert F.cross_entropy(logits, nothing, ignore_index=IGNORED).isnan()
    assert ce_loss(logits, nothing, ignore_index=IGNORED) == 0


@every_reduction
def test_focal_of_gamma_0_is_the_cross_entropy(reduction):
    options = {"ignore_index": IGNORED, "reduction": reduction}
    for task, plain in ((1, bce_loss), (-3, bce_loss), (2, ce_loss), (5, ce_loss)):
        logits, target = batch(task, ignored=0.3)
        for got, want in zip(
            gradient(partial(focal_loss, gamma=0, **options), logits, target),
            gradient(partial(plain, **options), logits, target),
            strict=True,
        ):
            torch.testing.assert_close(got, want)
    soft = torch.rand(4, 5, 7)
    logits = batch(1)[0]
    torch.testing.assert_close(focal_loss(logits, soft, gamma=0), bce_loss(logits, soft))


@every_reduction
@pytest.mark.parametrize(("gamma", "alpha"), [(0.5, None), (2.0, 0.25), (3.5, 0.25)])
def test_focal_equals_torchvision(reduction, gamma, alpha):
    theirs = pytest.importorskip("torchvision.ops").sigmoid_focal_loss
    logits, target = batch(1)
    want = gradient(
        partial(theirs, gamma=gamma, alpha=-1 if alpha is None else alpha, reduction=reduction),
        logits.double(),
        target.double(),
    )
    got = gradient(partial(focal_loss, gamma=gamma, alpha=alpha, reduction=reduction), logits.double(), target)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@given(st.integers(0, 10**6), st.integers(2, 5), st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=10, deadline=None)
def test_focal_of_labels_by_hand(seed, count, gamma):
    logits, target = batch(count, seed, ignored=0.2, dtype=torch.float64)

    def theirs(x, y):
        p = (x.exp() / x.exp().sum(1, keepdim=True)).gather(1, y.clamp(max=count - 1)[:, None])[:, 0]
        return torch.where(y == IGNORED, 0, -((1 - p) ** gamma) * p.log())

    ours = partial(focal_loss, gamma=gamma, ignore_index=IGNORED, reduction="none")
    for got, want in zip(gradient(ours, logits, target), gradient(theirs, logits, target), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("size", [30.0, 1e30])
def test_focal_is_finite_where_a_probability_is_0_or_1(gamma, size):
    """The slope of (1 - p)^gamma is infinite at p = 1 for gamma below 1, where the usual form gives NaN."""
    logits = torch.tensor([[[size, -size, size, -size]]])
    mask = torch.tensor([[[1, 0, 0, 1]]])
    value, slope = gradient(partial(focal_loss, gamma=gamma, reduction="none"), logits, mask)
    torch.testing.assert_close(value, torch.tensor([[[0.0, 0.0, size, size]]]))
    torch.testing.assert_close(slope, torch.tensor([[[0.0, 0.0, 1.0, -1.0]]]), rtol=1e-3, atol=1e-3)
    classes = torch.stack([-logits / 2, logits / 2], 1)
    value, slope = gradient(partial(focal_loss, gamma=gamma, reduction="none"), classes, mask)
    torch.testing.assert_close(value, torch.tensor([[[0.0, 0.0, size, size]]]))
    assert slope.isfinite().all()


@pytest.mark.parametrize("offset", [0.0, 1e5])
@pytest.mark.parametrize("ahead", [1.0, 18.0, 60.0])
def test_focal_of_labels_loses_no_digits(offset, ahead):
    """A truth with a lead of 18 has 1 - p = 1.5e-8, which is lost in a float32 p."""
    logits = torch.tensor([[ahead, 0.0, 0.0]])[..., None, None] + offset
    target = torch.zeros(1, 1, 1, dtype=torch.long)
    for gamma in (0.0, 0.5, 2.0):
        got = gradient(partial(focal_loss, gamma=gamma), logits, target)
        exact = logits.double()
        p = exact.softmax(1)[0, 0]
        others = exact.softmax(1)[0, 1:].sum()
        want = others**gamma * torch.log1p(others / p)
        torch.testing.assert_close(got[0].double(), want.squeeze(), rtol=1e-4, atol=1e-30)
        slope = gradient(partial(focal_loss, gamma=gamma), exact, target)[1]
        torch.testing.assert_close(got[1].double(), slope, rtol=1e-3, atol=1e-30)


@given(st.integers(0, 10**6), st.sampled_from([1, 3, 17, 10**6, 0.2, 0.99]), st.sampled_from([0.0, 0.4]))
@settings(max_examples=15, deadline=None)
def test_bootstrapped_by_sorting(seed, k, ignored):
    for task, plain, loss in ((1, bce_loss, bootstrapped_bce), (4, ce_loss, bootstrapped_ce)):
        logits, target = batch(task, seed, ignored=ignored)
        target[2] = IGNORED if ignored else target[2]
        options = {"ignore_index": IGNORED}
        pixels = plain(logits, target, reduction="none", **options)
        want = []
        for values, labels in zip(pixels, target, strict=True):
            valid = sorted(values[labels != IGNORED].tolist(), reverse=True)
            chosen = valid[: k if k >= 1 else max(1, round(k * len(valid)))]
            want.append(sum(chosen) / len(chosen) if chosen else 0.0)
        got = loss(logits, target, k=k, reduction="none", **options)
        torch.testing.assert_close(got, torch.tensor(want))
        counted = (target != IGNORED).flatten(1).any(1)
        torch.testing.assert_close(loss(logits, target, k=k, **options), torch.tensor(want)[counted].mean())


@pytest.mark.parametrize("k", [0.15, 0.3])
def test_bootstrapped_share_of_every_size(k):
    """The number of pixels in a share is rounded in the same way with and without ignored pixels."""
    for size in range(1, 400):
        logits, target = torch.zeros(2, 1, 1, size), torch.zeros(2, 1, size)
        for options in ({}, {"ignore_index": IGNORED}):
            losses = bootstrapped_bce(logits, target, k=k, reduction="none", **options)
            torch.testing.assert_close(losses, torch.full((2,), math.log(2)))
        # With losses that all differ, one pixel more or less changes the mean.
        logits = torch.linspace(-3, 3, size)[None, None]
        wide = torch.cat([logits, torch.zeros(1, 1, 9)], -1), torch.zeros(1, 1, size + 9, dtype=torch.long)
        wide[1][..., size:] = IGNORED
        want = bootstrapped_bce(logits, torch.zeros(1, 1, size), k=k)
        torch.testing.assert_close(bootstrapped_bce(*wide, k=k, ignore_index=IGNORED), want)
    few = torch.full((1, 1, 9), IGNORED)
    few[..., :2] = 0  # 0.2 of 2 pixels is less than half a pixel
    torch.testing.assert_close(
        bootstrapped_bce(torch.zeros(1, 1, 9), few, k=0.2, ignore_index=IGNORED).item(), math.log(2)
    )


def test_bootstrapped_reaches_the_hardest_pixels_alone():
    logits, target = batch(1)
    _, slope = gradient(partial(bootstrapped_bce, k=7), logits, target)
    pixels = bce_loss(logits, target, reduction="none").flatten(1)
    assert torch.equal(slope.flatten(1) != 0, pixels >= pixels.topk(7).values[:, -1:])


@pytest.mark.parametrize("k", [512 * 64, 35, 0.9999])
def test_bootstrapped_of_all_pixels_is_the_mean(k):
    logits, target = batch(1)
    torch.testing.assert_close(bootstrapped_bce(logits, target, k=k), bce_loss(logits, target))


def test_alpha_is_for_masks_only():
    with pytest.raises(ValueError, match=r"alpha=0\.5 weights salt against background, but the target holds labels"):
        focal_loss(*batch(3), alpha=0.5)
