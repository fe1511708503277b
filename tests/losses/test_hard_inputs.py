"""Empty batches, values beyond 1 by rounding, and half precision rounded once."""

import copy
from functools import partial

import pytest
import torch
from _loss_cases import CASES, IGNORED, TOPOLOGY, batch, gradient

from saltzoo.contracts import SegOutput
from saltzoo.losses import (
    BCELoss,
    CELoss,
    DeepSupervisionLoss,
    DiceLoss,
    FocalLoss,
    LovaszHingeLoss,
    LovaszSoftmaxLoss,
    WeightedSum,
    bce_dice_loss,
    bce_loss,
    ce_loss,
    dice_loss,
    focal_loss,
    lovasz_hinge,
)

ALL = {**CASES, "binary topology": (TOPOLOGY, 1)}
OF_BATCHES = ("dice", "jaccard", "tversky", "lovasz")
half = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("ignore_index", [None, IGNORED])
def test_a_batch_without_images_costs_nothing(name, ignore_index):
    loss, task = ALL[name]
    logits, target = batch(task)
    forms = [{}, {"per_image": False}] if any(word in name for word in OF_BATCHES) else [{}]
    for form in forms:
        for reduction in ("mean", "sum", "none"):
            options = {**form, "reduction": reduction, "ignore_index": ignore_index}
            value, slope = gradient(partial(loss, **options), logits[:0], target[:0])
            of_one = loss(logits[:1], target[:1], **options)
            images = 0 if reduction == "none" and not form else 1
            assert value.shape == of_one[:images].shape if reduction == "none" else value.shape == ()
            assert (value == 0).all()
            assert slope.shape == logits[:0].shape


def test_combined_losses_take_a_batch_without_images():
    logits, target = batch(1)
    both = WeightedSum([BCELoss(), DiceLoss(), FocalLoss(), LovaszHingeLoss()], [1.0, 1.0, 1.0, 1.0])
    value, slope = gradient(both, logits[:0], target[:0])
    assert (value, slope.shape) == (0, (0, 5, 7))
    output = SegOutput(logits[:0, None], maps=(logits[:0, None],), image=torch.zeros(0, 1), auxiliary=logits[:0, None])
    assert DeepSupervisionLoss(both)(output, target[:0]) == 0
    labels = DeepSupervisionLoss(WeightedSum([CELoss(weight=[1, 2, 3, 4]), LovaszSoftmaxLoss()], [1.0, 1.0]))
    logits, target = batch(4)
    output = SegOutput(logits[:0], maps=(logits[:0],), image=torch.zeros(0, 1), auxiliary=logits[:0])
    assert labels(output, target[:0]) == 0


def test_images_without_pixels_are_refused():
    for shape in ((2, 0, 4), (2, 4, 0), (0, 0, 4)):
        with pytest.raises(ValueError, match="at least one pixel an image"):
            bce_loss(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.parametrize("loss", [bce_loss, dice_loss, focal_loss, lovasz_hinge])
def test_rounding_may_exceed_1(loss):
    logits, target = batch(1)
    want = loss(logits, target)
    for dtype, beyond in ((torch.float32, 1e-7), (torch.float64, 1e-7), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)):
        most = torch.tensor(1 + beyond, dtype=dtype)
        assert most > 1
        rounded = torch.where(target == 1, most, 0).to(dtype)
        torch.testing.assert_close(loss(logits, rounded), want, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("target", "words"), [([0.0, 1.000002], "got 0 to 1.000002:"), ([-0.000002, 1.0], "got -2e-06 to 1:")]
)
def test_a_refused_target_is_shown_with_its_digits(target, words):
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match=f"target must be 0 to 1, {words}"):
            bce_loss(torch.zeros(1, 1, 2), torch.tensor([[target]], dtype=dtype))


MIXES = {
    "bce_dice": bce_dice_loss,
    "sum": WeightedSum([BCELoss(), DiceLoss(), LovaszHingeLoss(symmetric=True)], [1.0, 0.7, 0.3]),
    "deep": DeepSupervisionLoss(WeightedSum([BCELoss(), DiceLoss()], [1.0, 0.7])),
}


@half
@pytest.mark.parametrize("name", MIXES)
def test_gradients_in_half_precision_are_rounded_once(name, dtype):
    logits, target = batch(1, size=(3, 40, 40), dtype=dtype)
    scaled = lambda x, y: 1024 * MIXES[name](SegOutput(x[:, None]) if name == "deep" else x, y)  # noqa: E731
    exact = gradient(scaled, logits.float(), target)[1]
    assert torch.equal(gradient(scaled, logits, target)[1], exact.to(dtype))


def test_casts_and_devices_do_not_touch_the_weights_of_losses():
    logits, target = batch(1)

    def build():
        both = WeightedSum([BCELoss(pos_weight=0.1), DiceLoss(weight=[0.1]), FocalLoss(alpha=0.1)], [0.1, 0.2, 0.3])
        return DeepSupervisionLoss(both, map_weight=[0.1], image_weight=0.1, auxiliary_weight=0.1)

    want = build()(logits, target)
    output = SegOutput(logits[:, None], maps=(logits[:, None],), image=torch.ones(4, 1), auxiliary=logits[:, None])
    deep = build()(output, target)
    with torch.device("meta"):
        elsewhere = build()
    for loss in (
        build().half(),
        build().double(),
        build().half().float(),
        build().to("meta"),
        elsewhere,
        copy.deepcopy(build()),
    ):
        assert torch.equal(loss(logits, target), want)
        assert torch.equal(loss(output, target), deep)
        assert loss(logits, target).dtype == torch.float32
        assert not [*loss.buffers(), *loss.parameters()]
    labels, classes = batch(4)
    want = ce_loss(labels, classes, weight=[0.1, 0.2, 0.3, 0.4])
    assert torch.equal(CELoss(weight=[0.1, 0.2, 0.3, 0.4]).half()(labels, classes), want)
