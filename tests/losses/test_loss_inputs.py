"""Logits and targets that losses refuse, and the messages."""

import numpy as np
import pytest
import torch

from saltzoo.contracts import SegOutput
from saltzoo.losses import (
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

every_loss_of_masks = pytest.mark.parametrize("loss", ONLY_MASKS + BOTH, ids=lambda loss: loss.__name__)
every_loss_of_labels = pytest.mark.parametrize("loss", ONLY_LABELS + BOTH, ids=lambda loss: loss.__name__)
zeros = torch.zeros


# All losses read their inputs by the same functions: one for masks, one for labels, and one for both that calls them.
# Every message is tested with a loss of each kind; every loss with one message of each function.
@pytest.mark.parametrize("loss", [bce_loss, dice_loss])
@pytest.mark.parametrize(
    ("logits", "target", "options", "error", "message"),
    [
        (zeros(4, 4), zeros(4, 4), {}, ValueError, r"logits must be \(N, 1, H, W\).*got \(4, 4\).*logits\[None\]"),
        (zeros(2, 1, 4, 4), zeros(4, 4), {}, ValueError, r"target must be .*got \(4, 4\).*target\[None\]"),
        (zeros(1, 2, 1, 4, 4), zeros(2, 4, 4), {}, ValueError, r"\(1, 2, 1, 4, 4\)"),
        (zeros(2, 4, 4), zeros(2, 4, 5), {}, ValueError, r"\(2, 4, 4\) and \(2, 4, 5\) \(as N, H, W\): resize"),
        (zeros(2, 1, 4, 4), zeros(2, 3, 4, 4), {}, ValueError, r"\(2, 1, 4, 4\).*\(2, 3, 4, 4\).*N, C, H, W"),
        (zeros(2, 3, 4, 4), zeros(2, 1, 4, 4), {}, ValueError, r"\(2, 3, 4, 4\).*\(2, 1, 4, 4\).*N, C, H, W"),
        (zeros(2, 0, 4), zeros(2, 0, 4), {}, ValueError, "at least one pixel"),
        (zeros(2, 4, 4).int(), zeros(2, 4, 4), {}, TypeError, "must be floating point, got torch.int32"),
        (zeros(2, 4, 4), zeros(2, 4, 4) * 1j, {}, TypeError, "got torch.complex64"),
        (zeros(2, 4, 4), zeros(2, 4, 4, dtype=torch.uint16), {}, TypeError, "must be bool, uint8.*got torch.uint16"),
        (
            zeros(2, 4, 4),
            zeros(2, 4, 4, device="meta"),
            {},
            ValueError,
            r"on one device, got cpu and meta.*target\.to\(logits",
        ),
        (
            zeros(2, 4, 4),
            zeros(2, 4, 4),
            {"reduction": "avg"},
            ValueError,
            "unknown reduction 'avg': choose one of 'mean', 'sum', 'none'",
        ),
        # torch would wrap -100 to 156 and ignore that value
        (zeros(2, 4, 4), zeros(2, 4, 4).byte(), {"ignore_index": -100}, ValueError, "uint8.*0 to 255"),
        (zeros(2, 4, 4), zeros(2, 4, 4).bool(), {"ignore_index": 255}, ValueError, "bool.*0 to 1"),
        # a mask read from a PNG file
        (
            zeros(2, 4, 4),
            torch.full((2, 4, 4), 255).byte(),
            {},
            ValueError,
            "must be 0 to 1, got 255 to 255.*target > 0",
        ),
        (zeros(2, 4, 4), torch.full((2, 4, 4), -0.5), {}, ValueError, "must be 0 to 1, got -0.5 to -0.5"),
        (zeros(2, 4, 4), torch.full((2, 4, 4), torch.nan), {}, ValueError, "must be 0 to 1, got nan to nan"),
        (zeros(1, 1, 2), torch.tensor([[[2, 255]]]), {"ignore_index": 255}, ValueError, "must be 0 to 1, got 0 to 2"),
    ],
)
def test_masks(loss, logits, target, options, error, message):
    with pytest.raises(error, match=message):
        loss(logits, target, **options)


@every_loss_of_masks
def test_every_loss_checks_masks(loss):
    with pytest.raises(ValueError, match=r"same shape, got \(2, 4, 4\) and \(2, 4, 5\) \(as N, H, W\): resize"):
        loss(zeros(2, 4, 4), zeros(2, 4, 5))
    with pytest.raises(ValueError, match="target must be 0 to 1, got 0 to 2"):
        loss(zeros(1, 1, 2), torch.tensor([[[2, 0]]]))
    with pytest.raises(ValueError, match="unknown reduction 'avg'"):
        loss(zeros(2, 4, 4), zeros(2, 4, 4), reduction="avg")


@pytest.mark.parametrize("loss", [ce_loss, dice_loss])
@pytest.mark.parametrize(
    ("logits", "target", "options", "error", "message"),
    [
        (
            zeros(2, 3, 4, 4),
            zeros(2, 4, 5).long(),
            {},
            ValueError,
            r"same N, H and W, got \(2, 3, 4, 4\) and \(2, 4, 5\)",
        ),
        (zeros(2, 3, 4, 4), zeros(1, 4, 4).long(), {}, ValueError, "same N, H and W"),
        (zeros(2, 3, 0, 4), zeros(2, 0, 4).long(), {}, ValueError, "at least one pixel"),
        (
            zeros(2, 3, 4, 4),
            zeros(2, 4, 4),
            {},
            TypeError,
            r"labels must be integers, 0 to C - 1, got torch.float32.*target\.long\(\)",
        ),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4).bool(), {}, TypeError, "must be integers.*got torch.bool"),
        (zeros(2, 3, 4, 4).long(), zeros(2, 4, 4).long(), {}, TypeError, "must be floating point, got torch.int64"),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4, dtype=torch.uint32), {}, TypeError, "must be bool, uint8.*got torch.uint32"),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4, device="meta").long(), {}, ValueError, "got cpu and meta"),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4).long(), {"reduction": "avg"}, ValueError, "unknown reduction 'avg'"),
        (zeros(2, 3, 4, 4), zeros(2, 4, 4).byte(), {"ignore_index": -100}, ValueError, "uint8.*0 to 255"),
        (
            zeros(2, 3, 4, 4),
            torch.full((2, 4, 4), 3),
            {},
            ValueError,
            "must be 0 to 2, got 3 to 3.*3 classes.*ignore_index",
        ),
        (zeros(2, 3, 4, 4), torch.full((2, 4, 4), -1), {}, ValueError, "must be 0 to 2, got -1 to -1"),
    ],
)
def test_labels(loss, logits, target, options, error, message):
    with pytest.raises(error, match=message):
        loss(logits, target, **options)


@every_loss_of_labels
def test_every_loss_checks_labels(loss):
    with pytest.raises(ValueError, match=r"same N, H and W, got \(2, 3, 4, 4\) and \(2, 4, 5\): resize"):
        loss(zeros(2, 3, 4, 4), zeros(2, 4, 5).long())
    with pytest.raises(ValueError, match="target must be 0 to 2, got 3 to 3"):
        loss(zeros(2, 3, 4, 4), torch.full((2, 4, 4), 3))
    with pytest.raises(ValueError, match="unknown reduction 'avg'"):
        loss(zeros(2, 3, 4, 4), zeros(2, 4, 4).long(), reduction="avg")


@pytest.mark.parametrize("loss", ONLY_MASKS, ids=lambda loss: loss.__name__)
def test_labels_are_not_for_losses_of_masks(loss):
    with pytest.raises(
        ValueError, match=r"must be masks, got classes and labels of shape \(2, 3, 4, 4\).*logits\[:, 1:2\].*ce_loss"
    ):
        loss(zeros(2, 3, 4, 4), zeros(2, 4, 4).long())


@pytest.mark.parametrize("loss", ONLY_LABELS, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("shapes", [((2, 1, 4, 4), (2, 4, 4)), ((2, 4, 4), (2, 4, 4)), ((2, 3, 4, 4), (2, 1, 4, 4))])
def test_masks_are_not_for_losses_of_labels(loss, shapes):
    with pytest.raises(
        ValueError, match=r"must be classes \(N, C, H, W\), two or more, and labels.*target\[:, 0\].*bce_loss"
    ):
        loss(zeros(shapes[0]), zeros(shapes[1]).long())


def test_the_topology_loss_takes_one_mask_an_image():
    with pytest.raises(ValueError, match=r"one mask an image for this loss, got \(2, 3, 4, 4\).*logits\[:, i\]"):
        topology_loss(zeros(2, 3, 4, 4), zeros(2, 3, 4, 4), list)


@pytest.mark.parametrize("loss", [*ONLY_MASKS, *ONLY_LABELS, *BOTH], ids=lambda loss: loss.__name__)
def test_only_tensors_are_taken(loss):
    logits = zeros(2, 3, 4, 4)
    with pytest.raises(TypeError, match=r"logits must be a tensor, got a SegOutput.*DeepSupervisionLoss"):
        loss(SegOutput(logits), zeros(2, 4, 4))
    with pytest.raises(TypeError, match=r"target must be a tensor, got a ndarray.*torch.from_numpy"):
        loss(logits, np.zeros((2, 4, 4)))


@pytest.mark.parametrize("loss", BOTH, ids=lambda loss: loss.__name__)
def test_labels_with_a_channel_are_told_from_masks_of_another_size(loss):
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\).*drop the channel of labels, as in target\[:, 0\]"):
        loss(zeros(2, 3, 4, 4), zeros(2, 1, 4, 4).long())


@pytest.mark.parametrize("loss", [lovasz_softmax, bootstrapped_ce], ids=lambda loss: loss.__name__)
def test_one_hot_masks_are_told_from_labels(loss):
    with pytest.raises(ValueError, match=r"turn one-hot masks into target\.argmax\(1\)"):
        loss(zeros(2, 3, 4, 4), zeros(2, 3, 4, 4))


@pytest.mark.parametrize("loss", [bce_loss, dice_loss])
@pytest.mark.parametrize("value", [0.5, "255"])
def test_an_ignore_index_is_a_whole_number(loss, value):
    with pytest.raises(TypeError, match="ignore_index must be a whole number or None, got"):
        loss(zeros(2, 4, 4), zeros(2, 4, 4), ignore_index=value)


def test_two_classes_are_one_logit():
    """The hint of the error message is right."""
    logits, labels = torch.randn(2, 2, 5, 5), torch.randint(2, (2, 5, 5))
    one = logits[:, 1:] - logits[:, :1]
    torch.testing.assert_close(bce_loss(one, labels), ce_loss(logits, labels))


@every_loss_of_masks
def test_values_at_ignored_pixels_are_not_checked(loss):
    logits, target = torch.tensor([[[0.0, 3.0, 0.0]]]), torch.tensor([[[0, 255, 1]]], dtype=torch.uint8)
    want = loss(zeros(1, 1, 2), torch.tensor([[[0, 1]]], dtype=torch.uint8))
    torch.testing.assert_close(loss(logits, target, ignore_index=255), want)


def test_a_meta_target_is_not_looked_at():
    with torch.device("meta"):
        assert bce_loss(zeros(2, 1, 4, 4), zeros(2, 4, 4)).shape == ()
        assert ce_loss(zeros(2, 3, 4, 4), zeros(2, 4, 4).long()).shape == ()
