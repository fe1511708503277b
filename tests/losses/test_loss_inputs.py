"""What losses refuse, and what they say of it."""

import numpy as np
import pytest
import torch

from saltzoo.contracts import SegOutput
from saltzoo.losses import (
    LossModule,
    bce_dice_loss,
    bce_loss,
    bootstrapped_bce,
    bootstrapped_ce,
    ce_loss,
    dice_loss,
    focal_loss,
    jaccard_loss,
    lovasz_hinge,
    lovasz_softmax,
    topology_loss,
    tversky_loss,
)

ONLY_MASKS = [
    bce_loss,
    bce_dice_loss,
    lovasz_hinge,
    bootstrapped_bce,
    lambda x, y, **o: topology_loss(x, y, lambda z: [z], **o),
]
ONLY_LABELS = [ce_loss, lovasz_softmax, bootstrapped_ce]
BOTH = [dice_loss, jaccard_loss, tversky_loss, focal_loss]

mask_losses = pytest.mark.parametrize("loss", ONLY_MASKS + BOTH, ids=lambda loss: loss.__name__)
label_losses = pytest.mark.parametrize("loss", ONLY_LABELS + BOTH, ids=lambda loss: loss.__name__)
zeros = torch.zeros


@mask_losses
@pytest.mark.parametrize(
    ("logits", "target", "options", "error", "message"),
    [
        (zeros(4, 4), zeros(4, 4), {}, ValueError, r"\(4, 4\).*logits\[None\]"),
        (zeros(2, 1, 4, 4), zeros(4, 4), {}, ValueError, r"target has shape \(4, 4\).*target\[None\]"),
        (zeros(1, 2, 1, 4, 4), zeros(2, 4, 4), {}, ValueError, r"\(1, 2, 1, 4, 4\)"),
        (zeros(2, 4, 4), zeros(2, 4, 5), {}, ValueError, r"\(2, 4, 4\).*\(2, 4, 5\).*N, H, W.*resize"),
        (zeros(2, 1, 4, 4), zeros(2, 3, 4, 4), {}, ValueError, r"\(2, 1, 4, 4\).*\(2, 3, 4, 4\).*N, C, H, W"),
        (zeros(2, 3, 4, 4), zeros(2, 1, 4, 4), {}, ValueError, r"\(2, 3, 4, 4\).*\(2, 1, 4, 4\).*N, C, H, W"),
        (zeros(0, 4, 4), zeros(0, 4, 4), {}, ValueError, "no pixel"),
        (zeros(2, 0, 4), zeros(2, 0, 4), {}, ValueError, "no pixel"),
        (zeros(2, 4, 4).int(), zeros(2, 4, 4), {}, TypeError, "int32.*floating"),
        (zeros(2, 4, 4), zeros(2, 4, 4) * 1j, {}, TypeError, "complex64"),
        (zeros(2, 4, 4), zeros(2, 4, 4, dtype=torch.uint16), {}, TypeError, "uint16.*uint8"),
        (zeros(2, 4, 4), zeros(2, 4, 4, device="meta"), {}, ValueError, r"cpu.*meta.*target\.to\(logits"),
        (zeros(2, 4, 4), zeros(2, 4, 4), {"reduction": "avg"}, ValueError, "'avg'.*'mean', 'sum', 'none'"),
        # torch would compare with 156 and ignore it
        (zeros(2, 4, 4), zeros(2, 4, 4).byte(), {"ignore_index": -100}, ValueError, "uint8.*0 to 255"),
        (zeros(2, 4, 4), zeros(2, 4, 4).bool(), {"ignore_index": 255}, ValueError, "bool.*0 to 1"),
        # a mask as it comes out of a PNG file
        (zeros(2, 4, 4), torch.full((2, 4, 4), 255).byte(), {}, ValueError, "255 to 255, beyond 0 to 1.*target > 0"),
        (zeros(2, 4, 4), torch.full((2, 4, 4), -0.5), {}, ValueError, "-0.5 to -0.5, beyond 0 to 1"),
        (zeros(2, 4, 4), torch.full((2, 4, 4), torch.nan), {}, ValueError, "nan to nan, beyond 0 to 1"),
        (zeros(1, 1, 2), torch.tensor([[[2, 255]]]), {"ignore_index": 255}, ValueError, "0 to 2, beyond"),
    ],
)
def test_masks(loss, logits, target, options, error, message):
    with pytest.raises(error, match=message):
        loss(logits, target, **options)


@label_losses
@pytest.mark.parametrize(
    ("logits", "target", "options", "error", "message"),
    [
        (zeros(2, 3, 4, 4), zeros(2, 4, 5).long(), {}, ValueError, r"\(2, 3, 4, 4\).*\(2, 4, 5\) differ in N, H or W"),
        (zeros(2, 3, 4, 4), zeros(1, 4, 4).long(), {}, ValueError, "differ in N"),
        (zeros(0, 3, 4, 4), zeros(0, 4, 4).long(), {}, ValueError, "no pixel"),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4), {}, TypeError, r"float32.*integers.*target\.long\(\)"),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4).bool(), {}, TypeError, "bool.*integers"),
        (zeros(2, 3, 4, 4).long(), zeros(2, 4, 4).long(), {}, TypeError, "int64.*floating"),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4, dtype=torch.uint32), {}, TypeError, "uint32"),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4, device="meta").long(), {}, ValueError, "cpu.*meta"),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4).long(), {"reduction": "avg"}, ValueError, "'avg'"),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4).byte(), {"ignore_index": -100}, ValueError, "uint8.*0 to 255"),
        (zeros(2, 3, 4, 4), torch.full((2, 4, 4), 3), {}, ValueError, "3 to 3, beyond 0 to 2.*3 classes.*ignore_index"),
        (zeros(2, 3, 4, 4), torch.full((2, 4, 4), -1), {}, ValueError, "-1 to -1, beyond 0 to 2"),
    ],
)
def test_labels(loss, logits, target, options, error, message):
    with pytest.raises(error, match=message):
        loss(logits, target, **options)


@pytest.mark.parametrize("loss", ONLY_MASKS, ids=lambda loss: loss.__name__)
def test_labels_are_not_for_losses_of_masks(loss):
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\).*classes and labels.*logits\[:, 1:2\].*ce_loss"):
        loss(zeros(2, 3, 4, 4), zeros(2, 4, 4).long())


@pytest.mark.parametrize("loss", ONLY_LABELS, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("shapes", [((2, 1, 4, 4), (2, 4, 4)), ((2, 4, 4), (2, 4, 4)), ((2, 3, 4, 4), (2, 1, 4, 4))])
def test_masks_are_not_for_losses_of_labels(loss, shapes):
    with pytest.raises(ValueError, match=r"no classes and labels.*two classes or more.*target\[:, 0\].*bce_loss"):
        loss(zeros(shapes[0]), zeros(shapes[1]).long())


def test_the_topology_loss_takes_one_mask_an_image():
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\): this loss compares one mask an image.*logits\[:, i\]"):
        topology_loss(zeros(2, 3, 4, 4), zeros(2, 3, 4, 4), list)


@pytest.mark.parametrize("loss", [*ONLY_MASKS, *ONLY_LABELS, *BOTH], ids=lambda loss: loss.__name__)
def test_what_is_no_tensor(loss):
    logits = zeros(2, 3, 4, 4)
    with pytest.raises(TypeError, match=r"logits is a SegOutput. Give a tensor.*DeepSupervisionLoss"):
        loss(SegOutput(logits), zeros(2, 4, 4))
    with pytest.raises(TypeError, match=r"target is a ndarray. Give a tensor.*torch.from_numpy"):
        loss(logits, np.zeros((2, 4, 4)))


@pytest.mark.parametrize("loss", BOTH, ids=lambda loss: loss.__name__)
def test_labels_with_a_channel_are_told_from_masks_of_another_size(loss):
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\).*drop the channel of labels, as in target\[:, 0\]"):
        loss(zeros(2, 3, 4, 4), zeros(2, 1, 4, 4).long())


@pytest.mark.parametrize("loss", ONLY_LABELS, ids=lambda loss: loss.__name__)
def test_one_hot_masks_are_told_from_labels(loss):
    with pytest.raises(ValueError, match=r"of one-hot masks take target\.argmax\(1\)"):
        loss(zeros(2, 3, 4, 4), zeros(2, 3, 4, 4))


@mask_losses
@pytest.mark.parametrize("value", [0.5, "255"])
def test_an_ignore_index_is_a_whole_number(loss, value):
    with pytest.raises(TypeError, match="ignore_index must be a whole number or None, got"):
        loss(zeros(2, 4, 4), zeros(2, 4, 4), ignore_index=value)


def test_two_classes_are_one_logit():
    """What the error says of them holds."""
    logits, labels = torch.randn(2, 2, 5, 5), torch.randint(2, (2, 5, 5))
    one = logits[:, 1:] - logits[:, :1]
    torch.testing.assert_close(bce_loss(one, labels), ce_loss(logits, labels))


@mask_losses
def test_values_under_ignored_pixels_are_not_checked(loss):
    logits, target = torch.tensor([[[0.0, 3.0, 0.0]]]), torch.tensor([[[0, 255, 1]]], dtype=torch.uint8)
    want = loss(zeros(1, 1, 2), torch.tensor([[[0, 1]]], dtype=torch.uint8))
    torch.testing.assert_close(loss(logits, target, ignore_index=255), want)


def test_a_meta_target_is_not_looked_at():
    with torch.device("meta"):
        assert bce_loss(zeros(2, 1, 4, 4), zeros(2, 4, 4)).shape == ()
        assert ce_loss(zeros(2, 3, 4, 4), zeros(2, 4, 4).long()).shape == ()


def test_a_module_needs_a_function():
    with pytest.raises(TypeError, match="function"):

        class Nothing(LossModule):
            pass
