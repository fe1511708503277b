"""Promises of every loss: forms, reductions, ignored pixels, precision, gradients, compilation."""

from functools import partial

import pytest
import torch
from _loss_cases import CASES, IGNORED, TOPOLOGY, batch, gradient, is_pixelwise, logits_of
from torch._subclasses.fake_tensor import FakeTensorMode

from saltzoo import losses
from saltzoo.losses import (
    BCELoss,
    CELoss,
    DiceLoss,
    LovaszHingeLoss,
    LovaszSoftmaxLoss,
    WeightedSum,
    bce_loss,
)

SPATIAL = {"binary topology": (TOPOLOGY, 1)}
every_loss = pytest.mark.parametrize("name", [*CASES, *SPATIAL])
every_loss_of_pixels = pytest.mark.parametrize("name", CASES)


def case(name):
    return {**CASES, **SPATIAL}[name]


@every_loss
@pytest.mark.parametrize("ignore_index", [None, IGNORED])
def test_gradcheck(name, ignore_index):
    loss, task = case(name)
    logits, target = batch(task, size=(3, 3, 3), ignored=0.3 if ignore_index else 0, dtype=torch.float64)
    options = {"ignore_index": ignore_index, "reduction": "none"}
    assert loss(logits, target, **options).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda x: loss(x, target, **options), logits.requires_grad_())


@every_loss_of_pixels
def test_order_of_pixels_does_not_matter(name):
    loss, task = case(name)
    logits, target = batch(task)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    shuffled = [x.flatten(-2)[..., order].unflatten(-1, (7, 5)) for x in (logits, target)]
    value, slope = gradient(loss, logits, target)
    again, slope_again = gradient(loss, *shuffled)
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(slope_again.flatten(-2), slope.flatten(-2)[..., order])


@every_loss_of_pixels
def test_ignored_pixels_change_nothing(name):
    """A loss that divides by all pixels, ignored ones included, would be half as large."""
    loss, task = case(name)
    logits, target = batch(task)
    value, slope = gradient(loss, logits, target)
    ignoring = partial(loss, ignore_index=IGNORED)
    for ignored in (1e30, torch.nan):
        border = [torch.full((*x.shape[:-1], 7), fill, dtype=x.dtype) for x, fill in ((logits, ignored), (target, 255))]
        wide = [torch.cat(pair, -1) for pair in zip(border, (logits, target), strict=True)]
        wide_value, wide_slope = gradient(ignoring, *wide)
        torch.testing.assert_close(wide_value, value)
        torch.testing.assert_close(wide_slope[..., 7:], slope)
        assert (wide_slope[..., :7] == 0).all()


@every_loss
def test_ignored_images_do_not_count_in_the_mean(name):
    loss, task = case(name)
    logits, target = batch(task)
    value = loss(logits, target)
    logits, target = torch.cat([logits, logits]), torch.cat([target, torch.full_like(target, IGNORED)])
    torch.testing.assert_close(loss(logits, target, ignore_index=IGNORED), value)
    assert (loss(logits, target, ignore_index=IGNORED, reduction="none")[4:] == 0).all()


@every_loss
def test_all_ignored_gives_zero(name):
    loss, task = case(name)
    logits, target = batch(task)
    for reduction in ("mean", "none"):
        options = {"ignore_index": IGNORED, "reduction": reduction}
        value, slope = gradient(partial(loss, **options), logits, torch.full_like(target, IGNORED))
        assert value.shape == loss(logits, target, reduction=reduction).shape
        assert (value == 0).all()
        assert (slope == 0).all()


@every_loss
def test_a_split_batch_gives_the_same(name):
    loss, task = case(name)
    logits, target = batch(task, ignored=0.2)
    loss = partial(loss, ignore_index=IGNORED, reduction="none")
    whole = loss(logits, target)
    for cut in (1, 3):
        parts = [loss(logits[i], target[i]) for i in (slice(cut), slice(cut, None))]
        torch.testing.assert_close(torch.cat(parts), whole)


@every_loss
def test_a_repeated_batch_has_the_same_mean(name):
    loss, task = case(name)
    logits, target = batch(task, ignored=0.2)
    want = loss(logits, target, ignore_index=IGNORED)
    again = [torch.cat([x] * 3) for x in (logits, target)]
    torch.testing.assert_close(loss(*again, ignore_index=IGNORED), want)


@every_loss
def test_reductions_agree(name):
    loss, task = case(name)
    logits, target = batch(task, ignored=0.2)
    loss = partial(loss, ignore_index=IGNORED)
    each = loss(logits, target, reduction="none")
    torch.testing.assert_close(loss(logits, target, reduction="sum"), each.sum())
    counted = target != IGNORED
    if is_pixelwise(name):
        assert each.shape == target.shape
        want = each.sum() / counted.sum()
    else:
        one = task > 1 and ("bootstrapped" in name or "generalized" in name)
        channels = () if task == 1 or one else (abs(task),)
        assert each.shape == (4, *channels)
        if "skip" in name or name.endswith("lovasz-softmax"):  # what is absent is 0, and left out
            there = [[(t == c).any() if task > 1 else (t[c] == 1).any() for c in range(abs(task))] for t in target]
            there = torch.tensor(there if task != 1 else [[(t == 1).any()] for t in target])
            each = each.reshape(4, -1)
            assert (each[~there] == 0).all()
            images = there.any(1)
            want = (each.sum(1)[images] / there.sum(1)[images]).mean()
        else:
            want = each.mean()
        if name.endswith("bce-dice"):  # the cross-entropy's mean is over pixels
            want = bce_loss(logits, target, ignore_index=IGNORED) + losses.dice_loss(
                logits, target, ignore_index=IGNORED
            )
    torch.testing.assert_close(loss(logits, target), want)


@every_loss
def test_layouts_and_dtypes_agree(name):
    loss, task = case(name)
    loss = partial(loss, ignore_index=IGNORED, reduction="none")
    logits, target = batch(task, ignored=0.2)
    want = loss(logits, target)
    pairs = [(logits, target.to(dtype)) for dtype in (torch.uint8, torch.int16, torch.int32)]
    if task < 2:
        pairs.append((logits, target.float()))
    if task == 1:
        pairs += [(logits[:, None], target), (logits, target[:, None]), (logits[:, None], target[:, None].double())]
    if logits.ndim == 4:
        pairs.append((logits.to(memory_format=torch.channels_last), target))
    for x, y in pairs:
        given = y.clone()
        torch.testing.assert_close(loss(x, y), want)
        assert torch.equal(given, y)


LOW_PRECISION = [
    *((name, torch.float16) for name in (*CASES, *SPATIAL)),
    *((name, torch.bfloat16) for name in ("binary bce", "binary lovasz", "four classes dice", "binary topology")),
]


@pytest.mark.parametrize(("name", "dtype"), LOW_PRECISION)
def test_low_precision_is_computed_in_float32(name, dtype):
    loss, task = case(name)
    logits, target = batch(task, dtype=dtype)
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


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("binary", "two"))])
def test_large_images_are_finite_in_low_precision(name):
    """Sums of 90,000 pixels exceed the largest number of float16, 65,504."""
    loss, task = case(name)
    logits, target = batch(task, size=(2, 300, 300), dtype=torch.float16)
    logits[..., :100, :] = logits[..., :100, :].sign() * 6e4
    options = [{}] if is_pixelwise(name) or "bootstrapped" in name else [{}, {"per_image": False}]
    for more in options:
        value, slope = gradient(partial(loss, **more), logits, target)
        assert value.isfinite()
        assert slope.isfinite().all()


@every_loss
def test_the_truth_costs_nothing_and_its_opposite_most(name):
    loss, task = case(name)
    _, target = batch(task)
    least, slope = gradient(loss, logits_of(target, task, 200.0), target)
    assert slope.isfinite().all()
    if name.endswith("ce-smoothed"):  # a tenth of each target lies on all classes alike
        assert least == pytest.approx(0.1 * (task - 1) / task * 400)
        return
    assert least == pytest.approx(0, abs=1e-5)
    wrong = (target + 1) % max(task, 2)
    worst = loss(logits_of(wrong, task, 200.0), target)
    other = loss(batch(task)[0], target)
    assert worst.isfinite()
    assert other > least
    # Classes that are neither there nor predicted cost nothing, even where all are asked for.
    assert worst >= other or name == "four classes lovasz-softmax-all"


@every_loss
def test_grows_with_the_number_of_wrong_pixels(name):
    loss, task = case(name)
    rng = torch.Generator().manual_seed(0)
    _, target = batch(task)
    values = [loss(logits_of(target, task, 4.0), target)]
    said = target.clone()
    order = torch.randperm(target.numel(), generator=rng)
    for wrong in order.split(20):
        said.view(-1)[wrong] = (said.view(-1)[wrong] + 1) % max(task, 2)
        values.append(loss(logits_of(said, task, 4.0), target))
    if name == "binary topology":  # many small holes differ more from a mask than its negative does
        values = values[:2]
    steps = torch.stack(values).diff()
    assert (steps > -1e-6).all()
    assert steps[0] > 0 or "skip" in name


@every_loss
def test_every_pixel_of_an_empty_mask_gets_a_gradient(name):
    """Plain Dice gives none, so nothing would be learned from the 39 % of the competition's tiles that are empty."""
    loss, task = case(name)
    logits, target = batch(task)
    _, slope = gradient(loss, logits.clamp(min=-0.9), torch.zeros_like(target))
    touched = (slope != 0).flatten(1).float().mean(1)
    few = {
        "lovasz": 1 / 35,
        "bootstrapped": 7 / 35,
        "bootstrapped-share": 14 / 35,
        "dice-skip": 0,
    }
    form = name.split(" ")[-1]
    if task > 1 and form == "dice-skip":  # the background is a class that is there
        few[form] = 1.0
    assert touched.tolist() == pytest.approx([few.get(form, 1.0)] * 4)


@pytest.mark.parametrize("size", [1.0, 10.0])
def test_dice_pushes_an_empty_mask_down_as_hard_as_its_mean_would(size):
    logits, target = size * torch.randn(2, 101, 101).abs(), torch.zeros(2, 101, 101)
    _, slope = gradient(partial(losses.dice_loss, smooth=0.0), logits, target)
    _, mean = gradient(lambda x, _: x.sigmoid().mean(), logits, target)
    torch.testing.assert_close(slope, mean)
    _, smooth = gradient(partial(losses.dice_loss, empty="smooth"), logits, target)
    assert 0 < smooth.abs().max() < 1e-3 * slope.abs().max()


def compiled_equals_eager(loss, task, backend):
    torch.compiler.reset()
    logits, target = batch(task, ignored=0.2)
    run = torch.compile(loss, fullgraph=True, backend=backend)
    for got, want in zip(gradient(run, logits, target), gradient(loss, logits, target), strict=True):
        torch.testing.assert_close(got, want)


@every_loss
def test_needs_no_value_of_the_device(name):
    """Tensors on meta and on a fake GPU have no values: reading one is an error."""
    loss, task = case(name)
    loss = partial(loss, ignore_index=IGNORED)
    logits, target = batch(task, ignored=0.2)
    value, slope = gradient(loss, logits.to("meta"), target.to("meta"))
    assert value.shape == ()
    assert slope.shape == logits.shape
    if torch.backends.cuda.is_built():
        with FakeTensorMode():
            fake = torch.empty(logits.shape, device="cuda"), torch.empty(target.shape, device="cuda").long()
            assert loss(*fake).shape == ()


@pytest.mark.slow
@every_loss
def test_compiles_as_one_graph(name):
    loss, task = case(name)
    compiled_equals_eager(partial(loss, ignore_index=IGNORED), task, "eager")


MODULES = [
    BCELoss(ignore_index=IGNORED),
    LovaszHingeLoss(margin="elu", symmetric=True, ignore_index=IGNORED),
    DiceLoss(ignore_index=IGNORED),
    losses.FocalLoss(ignore_index=IGNORED),
    losses.BootstrappedBCELoss(ignore_index=IGNORED),
]


@pytest.mark.slow
def test_a_sum_of_modules_compiles_as_one_graph():
    compiled_equals_eager(WeightedSum(MODULES, range(5)), 1, "eager")


@pytest.mark.slow
def test_compiles_with_inductor():
    compiled_equals_eager(WeightedSum(MODULES, range(5)), 1, "inductor")
    softmax = [CELoss(ignore_index=IGNORED), LovaszSoftmaxLoss(ignore_index=IGNORED), DiceLoss(ignore_index=IGNORED)]
    compiled_equals_eager(WeightedSum(softmax, range(1, 4)), 4, "inductor")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_loss
def test_does_not_wait_for_the_device(name):
    loss, task = case(name)
    loss = partial(loss, ignore_index=IGNORED)
    logits, target = batch(task, ignored=0.2)
    cuda = logits.cuda(), target.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = gradient(loss, *cuda)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for ours, want in zip(got, gradient(loss, logits, target), strict=True):
        torch.testing.assert_close(ours.cpu(), want)


@every_loss
def test_overfits_one_batch(name):
    """Gradient steps on the logits reach the target, except in masks that the loss skips."""
    loss, task = case(name)
    _, target = batch(task, seed=3, size=(4, 6, 6))
    logits = (0.01 * batch(task, size=(4, 6, 6))[0]).requires_grad_()
    taught = torch.ones_like(target, dtype=torch.bool)
    if task < 2 and name.endswith("skip"):
        taught = target.flatten(-2).any(-1)[..., None, None].expand(target.shape)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(150):
        optimizer.zero_grad()
        loss(logits, target).backward()
        optimizer.step()
        predicted = logits.argmax(1) if task > 1 else (logits > 0).long()
        if torch.equal(predicted[taught], target[taught]):
            return
    raise AssertionError(f"{(predicted != target)[taught].sum()} pixels are wrong after 150 steps")
