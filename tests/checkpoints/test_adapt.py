"""Checkpoints adapted to other input channels or classes: which tensors change, how, and what is refused."""

import logging
import re

import pytest
import torch
import torch.nn.functional as F
from _proofs import randomise_batch_norms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import saltzoo
from saltzoo import Preprocess
from saltzoo.checkpoints.adapt import adapt_filters, adapt_preprocess, load_strictly

CHANNELS = st.integers(1, 7)
FILTERS = {
    "unet": "encoder.backbone.conv1.0.weight",
    "saltnet_s": "encoder.stem.conv.weight",
    "pspunet_small": "encoder.stem.conv.weight",
    "resunet_101": "encoder.stages.0.conv.weight",
    "unet_plain": "encoder.stages.0.0.conv.weight",
}
"""First filters of a model of each family."""

SMALL = {
    "unet": {"encoder": "test_resnet", "decoder_channels": (8,) * 5},
    "saltnet_s": {"channels": (8, 8, 8, 8), "decoder_channels": (8, 8, 8)},
    "unet_plain": {"channels": (4, 8)},
}
"""Options that make the models small."""


def make(name, **options):
    torch.manual_seed(0)
    return randomise_batch_norms(saltzoo.create_model(name, **SMALL.get(name, {}), **options))


def saved(model, folder):
    return f"local-dir:{saltzoo.save_pretrained(model, folder)}"


@torch.no_grad()
def logits(model, x):
    out = model.eval()(x)
    return getattr(out, "logits", out)


@given(CHANNELS, CHANNELS, st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_filters_keep_their_sum_over_channels(before, after, block):
    weight = torch.randn(5, before * block, 3, 2)
    adapted = adapt_filters(weight, before, after)
    assert adapted.shape == (5, after * block, 3, 2)
    sums = [value.unflatten(1, (-1, block)).sum(1) for value in (weight, adapted)]  # over channels: f block 3 2
    torch.testing.assert_close(*sums, rtol=1e-5, atol=1e-5)


@given(CHANNELS, CHANNELS)
@settings(max_examples=20, deadline=None)
def test_more_channels_and_back_give_the_same_filters(before, more):
    weight = torch.randn(2, before, 3, 3)
    there = adapt_filters(weight, before, before + more)
    torch.testing.assert_close(adapt_filters(there, before + more, before), weight, rtol=1e-5, atol=1e-6)


def test_filters_by_hand():
    red, green, blue = torch.randn(3, 4, 1, 3, 3).unbind()
    colour = torch.cat([red, green, blue], 1)
    for asked, want in (
        (1, [red + green + blue]),
        (2, [red + blue, green]),
        (3, [red, green, blue]),
        (4, [red / 2, green, blue, red / 2]),
        (6, [red / 2, green / 2, blue / 2] * 2),
    ):
        torch.testing.assert_close(adapt_filters(colour, 3, asked), torch.cat(want, 1))
    assert adapt_filters(colour.half(), 3, 1).dtype == torch.float32


def test_unshuffled_pixels_stay_with_their_channel():
    gray, weight = torch.randn(2, 1, 8, 6), torch.randn(5, 4, 3, 3)
    want = F.conv2d(F.pixel_unshuffle(gray, 2), weight)
    got = F.conv2d(F.pixel_unshuffle(gray.expand(-1, 3, -1, -1), 2), adapt_filters(weight, 1, 3))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    colour = torch.randn(2, 2, 8, 6)
    lone = adapt_filters(weight, 1, 2) * torch.tensor([2.0, 0.0]).repeat_interleave(4)[:, None, None]
    torch.testing.assert_close(
        F.conv2d(F.pixel_unshuffle(colour, 2), lone), F.conv2d(F.pixel_unshuffle(colour[:, :1], 2), weight)
    )


def test_the_preprocess_is_adapted():
    colour = Preprocess(mean=(0.1, 0.2, 0.6), std=(0.5, 0.25, 1.0), multiple=32, pad_mode="replicate")
    for asked, mean, std in (
        (1, (0.3,), (1.75 / 3,)),
        (2, (0.35, 0.2), (0.75, 0.25)),
        (4, (0.1, 0.2, 0.6, 0.1), (0.5, 0.25, 1.0, 0.5)),
    ):
        got = adapt_preprocess(colour, asked)
        assert (got.mean, got.std) == (pytest.approx(mean), pytest.approx(std))
        assert (got.multiple, got.pad_mode) == (32, "replicate")
    assert adapt_preprocess(Preprocess.gray(3), 1) == Preprocess.gray(1)
    assert adapt_preprocess(Preprocess.gray(1), 5) == Preprocess.gray(5)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILTERS)
def test_a_gray_image_in_all_channels_gives_the_same_logits(name, tmp_path, caplog):
    gray = make(name)
    images = torch.rand(2, 1, 64, 50)
    want = logits(gray, gray.preprocess(images))
    colour = saltzoo.create_model(saved(gray, tmp_path / "gray"), in_chans=3)
    assert colour.preprocess == Preprocess.gray(3)
    assert colour.in_chans == colour.config.model_args["in_chans"] == 3
    assert len(caplog.messages) == 1
    assert (
        f"in_chans=3 (saved with 1): first filters are summed or repeated over channels: {FILTERS[name]}"
        in (caplog.messages[0])
    )
    torch.testing.assert_close(
        logits(colour, colour.preprocess(images.expand(-1, 3, -1, -1))), want, rtol=1e-4, atol=1e-4
    )
    changed = {key for key, value in gray.state_dict().items() if not torch.equal(value, colour.state_dict()[key])}
    assert changed == {FILTERS[name]}
    back = saltzoo.create_model(saved(colour, tmp_path / "colour"), in_chans=1)
    torch.testing.assert_close(logits(back, back.preprocess(images)), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "untrained"),
    [
        ("unet", {}, {"head.conv"}),
        ("unet", {"hypercolumn": True, "classifier": "fused"}, {"head.classify.conv"}),
        ("unet", {"deep_supervision": True}, {"head.conv", *(f"deep_supervision.heads.{i}" for i in range(5))}),
        ("pspunet_small", {}, {"head.conv", "auxiliary.classify"}),
        ("saltnet_s", {}, {"head.classify.conv"}),
    ],
)
def test_layers_of_other_classes_start_untrained(name, options, untrained, tmp_path, caplog):
    model = make(name, **options)
    source = saved(model, tmp_path)
    torch.manual_seed(1)
    other = saltzoo.create_model(source, num_classes=3)
    keys = {f"{layer}.{part}" for layer in untrained for part in ("weight", "bias")}
    (message,) = caplog.messages
    assert caplog.records[0].levelno == logging.WARNING
    assert set(re.search(r"these layers start untrained: (.*)", message)[1].split(", ")) == keys
    assert "num_classes=3 (saved with 1)" in message
    kept = {key: value for key, value in model.state_dict().items() if key not in keys}
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in kept.items())
    torch.manual_seed(1)
    fresh = saltzoo.create_model(name, **SMALL.get(name, {}), **options, num_classes=3).state_dict()
    assert all(torch.equal(other.state_dict()[key], fresh[key]) for key in keys)
    x = torch.zeros(2, 1, 64, 64)
    assert logits(other, x).shape == (2, 3, 64, 64)
    plain = saltzoo.create_model(source, num_classes=3, in_chans=2, mask_only=True)
    assert plain.eval()(x.expand(-1, 2, -1, -1)).shape == (2, 3, 64, 64)


def test_the_same_numbers_change_nothing(tmp_path, caplog):
    model = make("unet", in_chans=2, num_classes=3)
    again = saltzoo.create_model(saved(model, tmp_path), in_chans=2, num_classes=3)
    assert caplog.messages == []
    assert again.config == model.config
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_refuses_other_channels_if_more_than_first_filters_depend_on_them(tmp_path):
    source = saved(make("unet", input_skip=True), tmp_path)
    words = (
        r"decoder.blocks.\d.conv1.conv.weight is .*saved with in_chans=1, and only the first filters.*drop in_chans, or"
    )
    with pytest.raises(ValueError, match=words):
        saltzoo.create_model(source, in_chans=3)


@pytest.fixture
def by_hand(own_registry):
    """Save a model of a user with a layer whose shape depends on the channels or classes in an unusual way."""

    @saltzoo.register_model
    def net(*, in_chans=1, num_classes=1, odd="none"):
        layers = {"first": nn.Conv2d(in_chans, 4, 3), "last": nn.Conv2d(4, num_classes, 1)}
        more = {
            "norm": lambda: nn.BatchNorm2d(in_chans),
            "depthwise": lambda: nn.Conv2d(in_chans, in_chans, 3, groups=in_chans),
            "square": lambda: nn.Conv2d(in_chans, in_chans, 3),
            "partly": lambda: nn.Conv2d(num_classes + 3, num_classes, 1),
            "more_classes": lambda: nn.Conv2d(4, num_classes + 1, 1),
            "between_classes": lambda: nn.Conv2d(num_classes, 2 * num_classes, 1),
            "layer_for_each": lambda: nn.ModuleList(nn.Conv2d(4, 1, 1) for _ in range(num_classes)),
        }
        model = nn.ModuleDict(layers | ({"odd": more[odd]()} if odd != "none" else {}))
        model.preprocess = Preprocess.gray(in_chans)
        return model

    def source(folder, odd):
        return saved(saltzoo.create_model("net", odd=odd), folder)

    return source


@pytest.mark.parametrize(
    ("odd", "asked", "words"),
    [
        ("norm", {"in_chans": 3}, r"odd.weight is \(1,\), the model's \(3,\).*drop in_chans"),
        ("depthwise", {"in_chans": 3}, r"odd.weight is \(1, 1, 3, 3\), the model's \(3, 1, 3, 3\).*drop in_chans"),
        ("square", {"in_chans": 3}, r"odd.weight is \(1, 1, 3, 3\), the model's \(3, 3, 3, 3\).*drop in_chans"),
        ("partly", {"num_classes": 3}, r"odd.weight is \(1, 4, 1, 1\), the model's \(3, 6, .*drop num_classes"),
        ("more_classes", {"num_classes": 3}, r"odd.weight is \(2, 4, 1, 1\), the model's \(4, .*drop num_classes"),
        ("layer_for_each", {"num_classes": 3}, r"odd.1.weight is missing.*drop num_classes"),
    ],
)
def test_refuses_shapes_that_no_rule_explains(by_hand, odd, asked, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        saltzoo.create_model(by_hand(tmp_path, odd), **asked)


def test_a_tensor_with_the_classes_in_both_dimensions_starts_untrained(by_hand, tmp_path, caplog):
    saltzoo.create_model(by_hand(tmp_path, "between_classes"), num_classes=3)
    assert "untrained: last.weight, last.bias, odd.weight, odd.bias" in caplog.messages[0]


def test_the_error_names_five_tensors_and_counts_the_rest():
    with pytest.raises(ValueError, match=r"mine do not fit: 0.weight is missing;.* and 3 more. Look again"):
        load_strictly(nn.Sequential(*(nn.Linear(1, 1) for _ in range(4))), {}, what="mine", hint="Look again")
