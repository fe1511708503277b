"""Losses: against the paper, against torch and SMP, and against what they promise."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.losses import BCELoss, LovaszHingeLoss, WeightedSum, bce_loss, lovasz_hinge

FORMS = [(margin, symmetric) for margin in ("relu", "elu") for symmetric in (False, True)]
LOVASZ = {f"{m}{'-symmetric' if s else ''}": partial(lovasz_hinge, margin=m, symmetric=s) for m, s in FORMS}
LOSSES = {"bce": bce_loss, **LOVASZ}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_lovasz = pytest.mark.parametrize("loss", LOVASZ.values(), ids=LOVASZ)
every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


def batch(seed=0, shape=(4, 5, 7), ignored=0.0, dtype=torch.float32):
    """Logits and a target with 255 at ignored pixels; the first mask is empty, the second full."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=rng, dtype=torch.float64)
    target = (torch.rand(shape, generator=rng) < 0.4).long()
    target[0] = 0
    target[1:2] = 1
    target[torch.rand(shape, generator=rng) < ignored] = 255
    return logits.to(dtype), target


def gradient(loss, logits, target):
    logits = logits.clone().requires_grad_()
    value = loss(logits, target)
    return value.detach(), torch.autograd.grad(value.sum(), logits)[0]


def paper(logits, target, margin):
    """Definition 1 and equation 9 of arXiv 1705.08790 for one image, a pixel at a time."""
    push = {"relu": lambda e: e.clamp(min=0), "elu": lambda e: torch.where(e > 0, e + 1, e.exp())}[margin]
    pixels = [(1 - x * (2 * y - 1), y) for x, y in zip(logits.flatten(), target.flatten(), strict=True) if y != 255]
    pixels.sort(key=lambda pixel: -pixel[0].item())
    union = sum(int(y) for _, y in pixels)  # of the truth and the set of wrong pixels
    loss, before = logits.new_zeros(()), 0.0
    for wrong, (error, y) in enumerate(pixels, start=1):
        union += 1 - int(y)
        jaccard = wrong / union
        loss = loss + push(error) * (jaccard - before)
        before = jaccard
    return loss


def mirrored(target):
    return torch.where(target == 255, target, 1 - target)


@given(st.integers(0, 10**6), st.sampled_from(FORMS), st.sampled_from([0.0, 0.3, 0.9]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_lovasz_equals_the_paper(seed, form, ignored, per_image):
    margin, symmetric = form
    logits, target = batch(seed, ignored=ignored, dtype=torch.float64)

    def ours(x, y):
        options = {"per_image": per_image, "ignore_index": 255, "reduction": "none"}
        return lovasz_hinge(x, y, margin=margin, symmetric=symmetric, **options)

    def theirs(x, y):
        images = list(zip(x, y, strict=True)) if per_image else [(x, y)]
        losses = [paper(a, b, margin) for a, b in images]
        if symmetric:
            losses = [(c + paper(-a, mirrored(b), margin)) / 2 for c, (a, b) in zip(losses, images, strict=True)]
        return torch.stack(losses) + 0 * x.sum()  # a graph, even if all is ignored

    for got, want in zip(gradient(ours, logits, target), gradient(theirs, logits, target), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("ignore_index", [None, 255])
def test_lovasz_equals_smp(per_image, ignore_index):
    smp = pytest.importorskip("segmentation_models_pytorch").losses.LovaszLoss
    logits, target = batch(shape=(6, 1, 101, 101), ignored=0.2 if ignore_index else 0.0)
    options = {"per_image": per_image, "ignore_index": ignore_index}
    ours = gradient(partial(lovasz_hinge, **options), logits, target)
    theirs = gradient(smp("binary", **options), logits, target)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-6)
    # SMP subtracts neighbouring Jaccard losses, each rounded at 6e-8.
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-7)


def test_lovasz_of_hard_errors_is_the_jaccard_loss():
    _, target = batch(shape=(5, 9, 9))
    wrong = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    logits = torch.where(wrong, 0.0, 2.0 * target - 1)  # error 1 where wrong, else 0
    salt, pred = target == 1, (target == 1) ^ wrong
    iou = (salt & pred).sum((1, 2)) / (salt | pred).sum((1, 2))
    torch.testing.assert_close(lovasz_hinge(logits, target, reduction="none"), 1 - iou)


@every_loss
@pytest.mark.parametrize("ignore_index", [None, 255])
def test_gradcheck(loss, ignore_index):
    logits, target = batch(shape=(3, 3, 4), ignored=0.3 if ignore_index else 0, dtype=torch.float64)
    assert loss(logits, target, ignore_index=ignore_index).dtype == torch.float64
    logits.requires_grad_()
    for reduction in ("mean", "none"):
        options = {"ignore_index": ignore_index, "reduction": reduction}
        assert torch.autograd.gradcheck(lambda x: loss(x, target, **options), logits)  # noqa: B023


@every_lovasz
@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_order_of_pixels_does_not_matter(loss, seed):
    logits, target = batch(seed)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(seed))
    shuffled = [x.flatten(1)[:, order].reshape(4, 7, 5) for x in (logits, target)]
    value, slope = gradient(loss, logits, target)
    again, slope_again = gradient(loss, *shuffled)
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(slope_again.flatten(1), slope.flatten(1)[:, order])


@every_loss
@pytest.mark.parametrize("rubbish", [0.0, 1e30, -torch.inf, torch.nan])
def test_ignored_pixels_change_nothing(loss, rubbish):
    logits, target = batch()
    wide = (
        torch.cat([torch.full((4, 5, 2), rubbish), logits], 2),
        torch.cat([torch.full((4, 5, 2), 255), target], 2),
    )
    value, slope = gradient(loss, logits, target)
    wide_value, wide_slope = gradient(partial(loss, ignore_index=255), *wide)
    torch.testing.assert_close(wide_value, value)
    torch.testing.assert_close(wide_slope[..., 2:], slope)
    assert (wide_slope[..., :2] == 0).all()


@every_loss
def test_ignored_images_do_not_count_in_the_mean(loss):
    logits, target = batch()
    value = loss(logits, target)
    logits, target = torch.cat([logits, logits]), torch.cat([target, torch.full_like(target, 255)])
    torch.testing.assert_close(loss(logits, target, ignore_index=255), value)
    assert (loss(logits, target, ignore_index=255, reduction="none")[4:] == 0).all()


@every_loss
@every_reduction
def test_all_ignored_gives_zero(loss, reduction):
    options = {"ignore_index": 255, "reduction": reduction}
    value, slope = gradient(partial(loss, **options), torch.randn(2, 1, 3, 3), torch.full((2, 3, 3), 255))
    assert (value == 0).all()
    assert (slope == 0).all()


@every_loss
@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_a_split_batch_gives_the_same(loss, seed, cut):
    logits, target = batch(seed, ignored=0.2)
    loss = partial(loss, ignore_index=255, reduction="none")
    parts = [loss(logits[i], target[i]) for i in (slice(cut), slice(cut, None))]
    torch.testing.assert_close(torch.cat(parts), loss(logits, target))


@every_loss
@every_reduction
def test_reductions_and_layouts_agree(loss, reduction):
    logits, target = batch(ignored=0.2)
    each = loss(logits, target, ignore_index=255, reduction="none")
    assert each.shape == (target.shape if loss is bce_loss else (4,))
    counted = (target != 255).sum() if loss is bce_loss else 4
    want = {"none": each, "sum": each.sum(), "mean": each.sum() / counted}[reduction]
    for x, y in [
        (logits, target),
        (logits[:, None], target),
        (logits[:, None], target[:, None].to(torch.uint8)),
    ]:
        torch.testing.assert_close(loss(x, y.float(), ignore_index=255, reduction=reduction), want)
        torch.testing.assert_close(loss(x, y, ignore_index=255, reduction=reduction), want)


def test_whole_batch_none_has_one_value():
    assert lovasz_hinge(*batch(), per_image=False, reduction="none").shape == (1,)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32(loss, dtype):
    logits, target = batch(dtype=dtype)
    logits[:, 0] *= 1000  # beyond exp in float16
    value, slope = gradient(loss, logits, target)
    exact, exact_slope = gradient(loss, logits.float(), target)
    with torch.autocast("cpu", dtype):
        cast, cast_slope = gradient(loss, logits, target)
    assert value.dtype == cast.dtype == torch.float32
    assert slope.dtype == cast_slope.dtype == dtype
    assert value.isfinite()
    for got in (value, cast):
        torch.testing.assert_close(got, exact)
    for got in (slope, cast_slope):
        torch.testing.assert_close(got, exact_slope.to(dtype))


def compiled_equals_eager(loss, backend):
    torch.compiler.reset()
    logits, target = batch(ignored=0.2)
    run = torch.compile(loss, fullgraph=True, backend=backend)
    for got, want in zip(gradient(run, logits, target), gradient(loss, logits, target), strict=True):
        torch.testing.assert_close(got, want)


MODULES = [
    BCELoss(ignore_index=255),
    *(LovaszHingeLoss(margin=m, symmetric=s, ignore_index=255) for m, s in FORMS),
]


@pytest.mark.parametrize("loss", [*MODULES, WeightedSum(MODULES, range(5))], ids=lambda loss: str(loss).split("\n")[0])
def test_compiles_as_one_graph(loss):
    compiled_equals_eager(loss, "eager")


@pytest.mark.slow
def test_compiles_with_inductor():
    compiled_equals_eager(WeightedSum(MODULES, range(5)), "inductor")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_loss
def test_does_not_wait_for_the_device(loss):
    logits, target = (x.cuda() for x in batch(ignored=0.2))
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = gradient(partial(loss, ignore_index=255), logits, target)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for ours, want in zip(got, gradient(partial(loss, ignore_index=255), logits.cpu(), target.cpu()), strict=True):
        torch.testing.assert_close(ours.cpu(), want)


@pytest.mark.parametrize("margin", ["relu", "elu"])
def test_gradient_on_an_empty_mask(margin):
    logits = batch()[0].clamp(min=-0.9)
    _, plain = gradient(partial(lovasz_hinge, margin=margin), logits, torch.zeros(4, 5, 7))
    _, both = gradient(partial(lovasz_hinge, margin=margin, symmetric=True), logits, torch.zeros(4, 5, 7))
    assert (plain.flatten(1) > 0).sum(1).tolist() == [1] * 4
    assert (plain.flatten(1).argmax(1) == logits.flatten(1).argmax(1)).all()
    assert (both > 0).all()


@every_reduction
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_bce_equals_torch(reduction, dtype):
    logits, target = batch()
    want = F.binary_cross_entropy_with_logits(logits, target.float(), reduction=reduction)
    torch.testing.assert_close(bce_loss(logits, target.to(dtype), reduction=reduction), want)


def test_bce_takes_probabilities_and_ignores_some():
    logits, target = batch(ignored=0.3)
    keep, soft = target != 255, torch.where(target == 255, 255.0, 0.25)
    want = F.binary_cross_entropy_with_logits(logits[keep], soft[keep])
    torch.testing.assert_close(bce_loss(logits, soft, ignore_index=255), want)


def test_weighted_sum():
    logits, target = batch()
    loss = WeightedSum([BCELoss(), LovaszHingeLoss()], [0.5, 2])
    bce, lovasz = bce_loss(logits, target), lovasz_hinge(logits, target)
    torch.testing.assert_close(loss(logits, target), 0.5 * bce + 2 * lovasz)
    loss.weights[1] = 0
    torch.testing.assert_close(loss(logits, target), 0.5 * bce)
    assert loss.state_dict() == {}


@every_loss
@pytest.mark.parametrize(
    ("logits", "target", "options", "error", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4), {}, ValueError, r"\(2, 3, 4, 4\).*logits\[:, 1:2\]"),
        (torch.zeros(4, 4), torch.zeros(4, 4), {}, ValueError, r"\(4, 4\).*logits\[None\]"),
        (torch.zeros(2, 4, 4), torch.zeros(2, 4, 5), {}, ValueError, r"\(2, 4, 4\).*\(2, 4, 5\).*resize"),
        (torch.zeros(0, 4, 4), torch.zeros(0, 4, 4), {}, ValueError, "no pixel"),
        (torch.zeros(2, 4, 4).int(), torch.zeros(2, 4, 4), {}, TypeError, "int32.*floating"),
        (torch.zeros(2, 4, 4), torch.zeros(2, 4, 4) * 1j, {}, TypeError, "complex64"),
        (torch.zeros(2, 4, 4), torch.zeros(2, 4, 4, device="meta"), {}, ValueError, "cpu.*meta"),
        (
            torch.zeros(2, 4, 4),
            torch.zeros(2, 4, 4),
            {"reduction": "avg"},
            ValueError,
            "'avg'.*'mean', 'sum', 'none'",
        ),
        # torch would compare with 156 and ignore it
        (
            torch.zeros(2, 4, 4),
            torch.zeros(2, 4, 4).byte(),
            {"ignore_index": -100},
            ValueError,
            "uint8.*0 to 255",
        ),
        (
            torch.zeros(2, 4, 4),
            torch.zeros(2, 4, 4).bool(),
            {"ignore_index": 255},
            ValueError,
            "bool.*0 to 1",
        ),
    ],
)
def test_errors_say_what_to_do(loss, logits, target, options, error, message):
    with pytest.raises(error, match=message):
        loss(logits, target, **options)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: lovasz_hinge(*batch(), margin="gelu"), ValueError, "'gelu'.*'relu', 'elu'"),
        (lambda: LovaszHingeLoss(margin="gelu"), ValueError, "'gelu'.*'relu', 'elu'"),
        (lambda: LovaszHingeLoss(reduction="avg"), ValueError, "'avg'"),
        (lambda: BCELoss(reduction="avg"), ValueError, "'avg'"),
        (lambda: WeightedSum([], []), ValueError, "0 losses"),
        (lambda: WeightedSum([BCELoss()], [1, 2]), ValueError, "1 losses and 2 weights"),
        (lambda: WeightedSum([BCELoss()], [float("nan")]), ValueError, "finite"),
        (lambda: WeightedSum([BCELoss], [1]), TypeError, "instance"),
        (
            lambda: WeightedSum([BCELoss(reduction="none"), LovaszHingeLoss()], [1, 1])(*batch()),
            ValueError,
            r"\(4, 5, 7\).*reduction",
        ),
    ],
)
def test_errors_of_options(build, error, message):
    with pytest.raises(error, match=message):
        build()
