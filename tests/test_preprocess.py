"""Preprocess: normalise, pad and back, for any size."""

import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo import Preprocess


def test_normalises_each_channel_by_its_own():
    images = torch.rand(2, 3, 4, 5)
    mean, std = (0.1, 0.5, 0.9), (0.5, 0.25, 2.0)
    got = Preprocess(mean=mean, std=std)(images)
    for channel in range(3):
        torch.testing.assert_close(got[:, channel], (images[:, channel] - mean[channel]) / std[channel])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_keeps_the_dtype_and_leaves_the_input_alone(dtype):
    images = torch.rand(1, 1, 40, 40).to(dtype)
    before = images.clone()
    assert Preprocess.gray()(images).dtype == dtype
    assert torch.equal(images, before)


@given(
    st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 2, 7, 32]), st.sampled_from(["replicate", "constant"])
)
@settings(max_examples=60, deadline=None)
def test_pads_to_the_next_multiple_and_unpads_what_it_had(height, width, multiple, mode):
    prepare = Preprocess(mean=(0.25,), std=(0.5,), multiple=multiple, pad_mode=mode)
    images = torch.rand(1, 1, height, width)
    padded = prepare(images)
    for size, got in zip((height, width), padded.shape[-2:], strict=True):
        assert got % multiple == 0
        assert 0 <= got - size < multiple
    torch.testing.assert_close(prepare.unpad(padded, (height, width)) * 0.5 + 0.25, images)


def test_pads_101_by_13_and_14_in_each_mode():
    images = torch.rand(1, 1, 101, 101)
    plain = Preprocess.gray()(images)
    for mode in ("reflect", "replicate", "constant"):
        padded = Preprocess(mean=(0.47,), std=(0.16,), multiple=32, pad_mode=mode)(images)
        assert padded.shape[-2:] == (128, 128)
        assert torch.equal(padded[..., 13:114, 13:114], plain)
        above = {"reflect": plain[..., 1, :], "replicate": plain[..., 0, :], "constant": torch.zeros(1, 1, 101)}
        assert torch.equal(padded[..., 12, 13:114], above[mode])
        right = {"reflect": plain[..., -2], "replicate": plain[..., -1], "constant": torch.zeros(1, 1, 101)}
        assert torch.equal(padded[..., 13:114, 114], right[mode])


def test_unpads_maps_of_any_rank():
    prepare = Preprocess(mean=(0.5,), std=(1.0,), multiple=8)
    maps = torch.arange(16 * 16).reshape(16, 16)
    want = maps[3:12, 2:13]
    assert torch.equal(prepare.unpad(maps, (9, 11)), want)
    assert torch.equal(prepare.unpad(maps.expand(2, 3, 16, 16), (9, 11)), want.expand(2, 3, 9, 11))


def test_gray_is_the_statistics_of_tiles_for_every_channel():
    assert Preprocess.gray(2) == Preprocess(mean=(0.47, 0.47), std=(0.16, 0.16), multiple=1, pad_mode="reflect")


def test_comes_back_from_json_as_it_was():
    prepare = Preprocess(mean=(0.1, 1 / 3), std=(0.2, 0.3), multiple=32, pad_mode="replicate")
    text = json.dumps(prepare.to_dict())
    assert Preprocess.from_dict(json.loads(text)) == prepare
    assert hash(Preprocess.from_dict(json.loads(text))) == hash(prepare)
    assert json.loads(text) == prepare.to_dict()


@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant"])
def test_a_scalar_is_a_plane_that_padding_repeats(mode):
    prepare = Preprocess(mean=(0.5, 0.1, 300.0), std=(0.25, 2.0, 200.0), multiple=32, pad_mode=mode, scalar=True)
    images, depths = torch.rand(2, 2, 40, 37), torch.tensor([500.0, 100.0], dtype=torch.float64)
    whole = prepare.assemble(images, depths)
    assert (prepare.in_chans, prepare.image_chans, whole.dtype) == (3, 2, torch.float32)
    assert torch.equal(whole[:, :2], images)
    x = prepare(whole)
    assert torch.equal(x[:, 2], torch.tensor([1.0, -1.0])[:, None, None].expand(2, 64, 64))
    two = Preprocess(mean=(0.5, 0.1), std=(0.25, 2.0), multiple=32, pad_mode=mode)
    assert torch.equal(x[:, :2], two(images))
    assert torch.equal(prepare.assemble(images[:, :1], depths[:, None])[:, :2], images[:, :1].expand(2, 2, 40, 37))


def test_without_a_scalar_images_are_as_they_were():
    images = torch.rand(2, 1, 4, 5)
    assert torch.equal(Preprocess.gray(3).assemble(images), images.expand(2, 3, 4, 5))
    assert Preprocess.gray().assemble(images).data_ptr() == images.data_ptr()
    assert "scalar" not in Preprocess.gray().to_dict()


def test_the_scalar_comes_back_from_json():
    prepare = Preprocess.gray(2, scalar=True)
    assert Preprocess.from_dict(json.loads(json.dumps(prepare.to_dict()))) == prepare
    assert (prepare.mean, prepare.std) == ((0.47, 516.0), (0.16, 228.0))


@pytest.mark.parametrize(
    ("scalar", "images", "scalars", "words"),
    [
        (True, (2, 1, 4, 4), None, "which is missing: give scalars"),
        (True, (2, 1, 4, 4), (3,), "one number for each of 2 image(s), got shape (3,)"),
        (True, (2, 1, 4, 4), (2, 2), "got shape (2, 2)"),
        (True, (2, 2, 4, 4), (2,), "expected images N 1 H W, or gray ones N 1 H W, got (2, 2, 4, 4)"),
        (False, (2, 1, 4, 4), (2,), "reads no number besides the image: drop scalars"),
    ],
)
def test_what_does_not_fit_the_scalar_is_refused(scalar, images, scalars, words):
    prepare = Preprocess.gray(2, scalar=scalar)
    with pytest.raises(ValueError, match=re.escape(words)):
        prepare.assemble(torch.zeros(images), None if scalars is None else torch.zeros(scalars))


def test_a_scalar_needs_a_channel_besides_the_image():
    with pytest.raises(ValueError, match="must hold at least 2 numbers"):
        Preprocess(mean=(0.5,), std=(0.5,), scalar=True)
    with pytest.raises(TypeError, match="scalar must be True or False, got 'no'"):
        Preprocess(mean=(0.5, 0.5), std=(0.5, 0.5), scalar="no")


@pytest.mark.parametrize(
    "change",
    [
        {"mean": []},
        {"mean": [0.5, 0.5]},
        {"mean": "a"},
        {"mean": 0.5},
        {"mean": [float("nan")]},
        {"mean": [None]},
        {"std": [0.0]},
        {"std": [-1.0]},
        {"std": [float("inf")]},
        {"std": [float("nan")]},
        {"std": ["0.1"]},
        {"multiple": 0},
        {"multiple": 1.5},
        {"multiple": "32"},
        {"multiple": True},
        {"mean": [True]},
        {"pad_mode": "circular"},
        {"unknown": 1},
    ],
)
def test_refuses_values_that_are_no_preprocess(change):
    with pytest.raises(ValueError, match=r"for each channel|multiple must|not a preprocess description"):
        Preprocess.from_dict({"mean": [0.5], "std": [0.1], **change})


def test_refuses_a_description_with_a_part_missing():
    with pytest.raises(ValueError, match="not a preprocess description"):
        Preprocess.from_dict({"mean": [0.5]})


@pytest.mark.parametrize(
    "images",
    [torch.rand(1, 40, 40), torch.rand(1, 3, 40, 40), torch.zeros(1, 1, 40, 40, dtype=torch.uint8), torch.rand(40, 40)],
)
def test_refuses_images_of_another_shape_or_dtype(images):
    with pytest.raises(ValueError, match=r"expected floating-point images N 1 H W in 0..1, got"):
        Preprocess.gray()(images)


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, float("nan")])
def test_refuses_images_beyond_0_to_1(value):
    images = torch.rand(2, 1, 40, 40)
    images[1, 0, 3, 4] = value
    with pytest.raises(ValueError, match=r"images must be in 0\.\.1 without NaN, got .*: divide by their full scale"):
        Preprocess.gray()(images)


def test_takes_rounding_beyond_1_empty_batches_and_tensors_without_values():
    Preprocess.gray()(torch.full((1, 1, 4, 4), 1 + 2**-7, dtype=torch.bfloat16))
    assert Preprocess.gray()(torch.zeros(0, 1, 40, 40)).shape == (0, 1, 40, 40)
    assert Preprocess.gray()(torch.zeros(2, 1, 40, 40, device="meta")).shape == (2, 1, 40, 40)
    mapped = torch.vmap(Preprocess.gray())(torch.rand(3, 2, 1, 4, 4))
    assert mapped.shape == (3, 2, 1, 4, 4)


def test_a_padding_wider_than_the_image_is_refused():
    prepare = Preprocess(mean=(0.5,), std=(0.2,), multiple=128)
    with pytest.raises(ValueError, match=r'33 x 90 images are too small.*pad_mode="replicate"'):
        prepare(torch.rand(1, 1, 33, 90))
    prepare = Preprocess(mean=(0.5,), std=(0.2,), multiple=128, pad_mode="replicate")
    assert prepare(torch.rand(1, 1, 33, 90)).shape == (1, 1, 128, 128)


@pytest.mark.parametrize("size", [(11, 32), (32, 11)])
def test_a_reflection_has_one_pixel_fewer_than_the_image(size):
    """The border itself is not repeated, so that 12 pixels can be padded by 10, but 11 not by 11."""
    prepare = Preprocess(mean=(0.5,), std=(0.2,), multiple=32)
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]} images are too small"):
        prepare(torch.rand(1, 1, *size))
    assert prepare(torch.rand(1, 1, *(max(side, 12) for side in size))).shape == (1, 1, 32, 32)
