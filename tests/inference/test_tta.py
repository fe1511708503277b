"""Test-time augmentation: identities, brute force over explicit arrays, and composition."""

import itertools
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo import Preprocess, SegOutput, predict, predict_tiled
from saltzoo.inference import Compose, HorizontalFlip, Scale, Transpose, VerticalFlip

NAMES = ("hflip", "flips", "d4")
ELEMENTS = [HorizontalFlip(), VerticalFlip(), Transpose()]


def network(kernel=5, classes=1, seed=0, **options):
    torch.manual_seed(seed)
    model = nn.Conv2d(1, classes, kernel, padding=kernel // 2)
    with torch.no_grad():
        model.weight.mul_(3)
    model.preprocess = Preprocess(mean=(0.5,), std=(0.25,), **options)
    return model


def picture(height=40, width=57, seed=0):
    return np.random.default_rng(seed).random((height, width), dtype=np.float32)


def group(name):
    """Return (apply, undo) of numpy for every element of a group, written without the transforms."""
    turns = {"hflip": [(0, f) for f in (0, 1)], "flips": [(k, f) for k in (0, 2) for f in (0, 1)]}
    for turn, flip in turns.get(name, list(itertools.product(range(4), (0, 1)))):
        yield (
            lambda a, k=turn, f=flip: np.rot90(a[:, ::-1] if f else a, k),
            lambda a, k=turn, f=flip: np.rot90(a, -k)[:, ::-1] if f else np.rot90(a, -k),
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mean", ["probabilities", "logits"])
def test_names_average_over_their_group(name, mean):
    model, image = network(), picture()
    found = np.stack([undo(predict(model, np.ascontiguousarray(apply(image)))) for apply, undo in group(name)])
    assert len(found) == {"hflip": 2, "flips": 4, "d4": 8}[name]
    assert found.std(0).max() > 0.05  # the network is not equivariant
    want = found.mean(0) if mean == "probabilities" else 1 / (1 + np.exp(-np.log(found / (1 - found)).mean(0)))
    np.testing.assert_allclose(predict(model, image, tta=name, tta_mean=mean), want, atol=1e-5)
    np.testing.assert_allclose(predict_tiled(model, image, tile=(40, 57), tta=name, tta_mean=mean), want, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (7, 30), (64, 33)])
@pytest.mark.parametrize("name", NAMES)
def test_an_equivariant_network_gives_back_itself(name, size):
    model, image = network(), picture(*size)
    with torch.no_grad():
        weight = model.weight + model.weight.flip(-1)
        weight = weight + weight.flip(-2)
        model.weight.copy_((weight + weight.transpose(-1, -2)) / 8)
    np.testing.assert_allclose(predict(model, image, tta=name), predict(model, image), atol=1e-6)


def test_scales_of_a_pointwise_network_and_a_ramp_are_the_same():
    model = network(kernel=1)
    ramp = np.linspace(0, 1, 80, dtype=np.float32)[:, None].repeat(60, 1)
    got = predict(model, ramp, tta="scales", tta_mean="logits")
    np.testing.assert_allclose(got[4:-4], predict(model, ramp)[4:-4], atol=1e-4)
    assert np.abs(predict(model, picture(), tta="scales") - predict(model, picture())).max() > 1e-3


@pytest.mark.parametrize("mean", ["probabilities", "logits"])
def test_several_classes_still_sum_to_one(mean):
    got = predict(network(classes=3), picture(), tta="d4", tta_mean=mean)
    assert got.shape == (3, 40, 57)
    np.testing.assert_allclose(got.sum(0), 1, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(ELEMENTS), st.builds(Scale, st.sampled_from([0.5, 0.9, 1.7]))), max_size=5),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_compositions_come_back_at_their_size(parts, height, width):
    x = torch.rand(2, 1, height, width)
    both = Compose((Compose(tuple(parts)), HorizontalFlip()))
    moved = both.apply(x)
    again = both.invert(moved.expand(-1, 3, -1, -1), (height, width))
    assert again.shape == (2, 3, height, width)
    if not any(isinstance(part, Scale) for part in parts):
        assert torch.equal(again, x.expand(-1, 3, -1, -1))
    transposes = sum(isinstance(part, Transpose) for part in parts)
    if not any(isinstance(part, Scale) for part in parts):
        assert moved.shape[-2:] == ((width, height) if transposes % 2 else (height, width))


def test_scale_rounds_to_the_multiple_of_the_preprocess():
    sizes = []
    model = network(multiple=16, pad_mode="replicate")
    model.register_forward_pre_hook(lambda _module, args: sizes.append(tuple(args[0].shape[-2:])))
    assert predict(model, picture(101, 70), tta="scales").shape == (101, 70)
    assert sizes == [(112, 80), (96, 64), (144, 96)]


def test_the_scalar_follows_every_transform():
    seen = []

    class Reader(nn.Module):
        preprocess = Preprocess(mean=(0.5, 500.0), std=(0.25, 100.0), scalar=True)

        def forward(self, x):
            seen.append(x[:, 1])
            return SegOutput(x[:, :1] * x[:, 1:])

    image = picture(20, 31)
    want = 1 / (1 + np.exp(-(image - 0.5) / 0.25 * 2))
    for tta in ("d4", "scales"):
        got = predict(Reader(), image[None], scalars=[700.0], tta=tta)
        assert got.shape == (1, 20, 31)
    assert len(seen) == 8 + 3
    assert all(torch.allclose(plane, torch.tensor(2.0)) for plane in seen)
    np.testing.assert_allclose(predict(Reader(), image[None], scalars=[700.0], tta="d4")[0], want, atol=1e-5)
    np.testing.assert_allclose(predict_tiled(Reader(), image, scalar=700.0, tile=10), want, atol=1e-5)


@dataclass(frozen=True)
class Roll:
    by: int

    def apply(self, x, /):
        return x.roll(self.by, -1)

    def invert(self, y, size, /):
        return y.roll(-self.by, -1)


def test_a_transform_of_a_user_is_averaged_and_composes():
    model, image = network(), picture()
    rolled = np.roll(predict(model, np.roll(image, 9, 1)), -9, 1)
    got = predict(model, image, tta=[Compose(), Roll(9)])
    np.testing.assert_allclose(got, (predict(model, image) + rolled) / 2, atol=1e-6)
    np.testing.assert_allclose(predict(model, image, tta=(Compose((Roll(4), Roll(5))),)), rolled, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"tta": "vflip"}, ValueError, "unknown tta 'vflip': choose one of None, 'hflip', 'flips', 'd4', 'scales'"),
        ({"tta": []}, ValueError, "tta must hold one or more transforms, got none: give None"),
        ({"tta": [lambda x: x]}, TypeError, "a sequence of transforms with the methods apply and invert, got [<func"),
        ({"tta": [HorizontalFlip]}, TypeError, "with the methods apply and invert, got [<class"),
        ({"tta": 3}, TypeError, "tta must be None, one of 'hflip'"),
        ({"tta": "d4", "tta_mean": "median"}, ValueError, "unknown tta_mean 'median': choose one of 'probabilities'"),
    ],
)
def test_errors_name_the_given_value(options, kind, words):
    for function in (predict, predict_tiled):
        with pytest.raises(kind, match=re.escape(words)):
            function(network(), picture(), **options)


@pytest.mark.parametrize(("factor", "multiple"), [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1, 0)])
def test_scale_refuses_what_is_no_factor(factor, multiple):
    with pytest.raises(ValueError, match=r"factor must be a finite number above 0|multiple must be at least 1"):
        Scale(factor, multiple)
    with pytest.raises(TypeError, match="factor must be a number, got '2'"):
        Scale("2")
