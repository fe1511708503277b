"""predict: every kind of input, compared with the model called directly."""

import re

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo import Preprocess, predict


def tiny(**options):
    torch.manual_seed(0)
    model = saltzoo.create_model(
        "unet", encoder="test_resnet", attention="scse", decoder_channels=(16, 16, 8, 8, 8), **options
    )
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean.normal_(std=0.1)
    return model


@pytest.fixture(scope="module")
def model():
    return tiny()


def tiles(count=3, height=37, width=50, dtype=np.uint8, seed=0):
    full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    random = np.random.default_rng(seed).random((count, height, width))
    return (random * full).astype(dtype)


@torch.no_grad()
def by_hand(model, unit):
    """Return probabilities of float32 images N C H W in 0..1 without any code of predict."""
    twin = tiny(in_chans=model.in_chans, num_classes=model.head.conv.out_channels).eval()
    twin.load_state_dict(model.state_dict())
    logits = twin((unit - 0.47) / 0.16)
    return 1 / (1 + (-logits[:, 0]).exp()) if logits.shape[1] == 1 else logits.exp() / logits.exp().sum(1, keepdim=True)


def unit_of(array, scale):
    return torch.from_numpy(array.astype(np.float32) / np.float32(scale))


@pytest.mark.parametrize(
    ("dtype", "scale"), [(np.uint8, 255), (np.uint16, 65535), (np.float16, 1), (np.float32, 1), (np.float64, 1)]
)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_equals_the_model_by_hand(model, dtype, scale, kind):
    images = tiles(dtype=dtype)
    want = by_hand(model, unit_of(images, scale)[:, None])
    got = predict(model, images if kind == "numpy" else torch.from_numpy(images))
    assert type(got) is (np.ndarray if kind == "numpy" else torch.Tensor)
    assert got.dtype == (np.float32 if kind == "numpy" else torch.float32)
    torch.testing.assert_close(torch.as_tensor(got), want, rtol=1e-4, atol=1e-5)
    assert torch.as_tensor(got).std() > 0.01  # the outputs are not constant


@pytest.mark.parametrize("wrap", [lambda a: a, torch.from_numpy])
def test_one_tile_many_tiles_and_images_are_the_same(model, wrap):
    images = tiles()
    many = predict(model, wrap(images))
    assert many.shape == (3, 37, 50)
    one = predict(model, wrap(images[1]))
    assert one.shape == (37, 50)
    four = predict(model, wrap(images[:, None]))
    assert type(one) is type(four) is type(many)
    np.testing.assert_allclose(one, many[1], atol=1e-5)
    np.testing.assert_array_equal(four, many)


def test_a_list_of_mixed_sizes_kinds_and_dtypes_keeps_its_order(model):
    images = [
        tiles(1, 37, 50)[0],
        torch.from_numpy(tiles(1, 64, 33, seed=1)[0]),
        tiles(1, 37, 50, seed=2),  # C H W
        tiles(1, 37, 50, np.float64, seed=3)[0],
        tiles(1, 40, 40, np.uint16, seed=4)[0],
        torch.from_numpy(tiles(1, 37, 50, seed=5)[0]),
    ]
    got = predict(model, images, batch_size=2)
    assert isinstance(got, list)
    for image, result in zip(images, got, strict=True):
        assert type(result) is type(image)
        assert tuple(result.shape) == tuple(image.shape[-2:])
        assert str(result.dtype).endswith("float32")
        alone = predict(model, image if image.ndim == 2 else image[0])
        np.testing.assert_allclose(result, alone, atol=1e-5)
    assert predict(model, tuple(images[:1]))[0].shape == (37, 50)


def test_no_tiles_give_no_probabilities(model):
    assert predict(model, []) == []
    empty = predict(model, np.zeros((0, 40, 50), np.uint8))
    assert (empty.shape, empty.dtype) == ((0, 40, 50), np.float32)
    assert predict(model, torch.zeros(0, 1, 40, 50)).shape == (0, 40, 50)
    assert predict(tiny(num_classes=3), np.zeros((0, 40, 50), np.uint8)).shape == (0, 3, 40, 50)


@pytest.mark.filterwarnings("error")
def test_takes_read_only_strided_and_big_endian_arrays(model):
    images = tiles()
    want = predict(model, images)
    frozen = images.copy()
    frozen.flags.writeable = False
    big_endian = (images.astype(np.uint16) * 257).astype(">u2")
    for given in (frozen, images[:, ::-1, ::-1][:, ::-1, ::-1], np.asfortranarray(images), big_endian):
        np.testing.assert_allclose(predict(model, given), want, atol=1e-6)
    np.testing.assert_allclose(predict(model, images[:, :, ::-1]), predict(model, images[:, :, ::-1].copy()))
    np.testing.assert_allclose(predict(model, [frozen[0]])[0], want[0], atol=1e-5)
    np.testing.assert_array_equal(frozen, images)


def test_torch_results_can_be_changed_and_have_no_gradient(model):
    images = torch.rand(2, 40, 40, requires_grad=True)
    got = predict(model, images)
    assert not got.requires_grad
    assert not got.is_inference()
    got.add_(1)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
@pytest.mark.parametrize("tta", [None, "hflip"])
def test_batch_size_changes_nothing(model, batch_size, tta):
    images = tiles(5)
    sizes = []
    hook = model.register_forward_pre_hook(lambda _module, args: sizes.append(args[0].shape[0]))
    got = predict(model, images, batch_size=batch_size, tta=tta)
    hook.remove()
    assert max(sizes) == min(batch_size, 5)
    np.testing.assert_allclose(got, predict(model, images, tta=tta), atol=1e-5)


def test_hflip_is_the_average_with_the_mirror_image(model):
    images = tiles()
    mirrored = predict(model, np.ascontiguousarray(images[:, :, ::-1]))[:, :, ::-1]
    got = predict(model, images, tta="hflip")
    np.testing.assert_allclose(got, (predict(model, images) + mirrored) / 2, atol=1e-5)
    assert np.abs(got - mirrored).max() > 1e-3


def test_computes_in_evaluation_mode_and_leaves_every_mode_as_it_is(monkeypatch):
    model = tiny().train()
    model.encoder.eval()
    model.decoder.blocks[1].conv1.norm.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    assert set(modes.values()) == {True, False}
    inside, outside = [], []
    hook = model.register_forward_pre_hook(lambda module, _args: inside.append([m.training for m in module.modules()]))
    monkeypatch.setitem(globals(), "ORIGINAL", model)  # a hook that closes over the model would see the view of it
    other = model.head.register_forward_pre_hook(
        lambda _m, _a: outside.append([m.training for m in ORIGINAL.modules()])  # noqa: F821
    )
    predict(model, tiles())
    hook.remove()
    other.remove()
    assert not any(inside[0])
    assert outside == [list(modes.values())]
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    with pytest.raises(ValueError, match="at least 32 x 32, got 20 x 50"):
        predict(model, tiles(height=20))
    assert {name: module.training for name, module in model.named_modules()} == modes


@pytest.mark.parametrize("tta", [None, "hflip"])
def test_padding_is_removed(tta):
    model = tiny()
    model.preprocess = Preprocess(mean=(0.4,), std=(0.2,), multiple=32, pad_mode="replicate")
    images = tiles(2, 37, 101)
    padded = np.pad(images, ((0, 0), (13, 14), (13, 14)), mode="edge")
    model.eval()
    with torch.no_grad():
        x = (unit_of(padded, 255)[:, None] - 0.4) / 0.2
        want = model(x)[:, 0].sigmoid()
        if tta:
            want = (want + model(x.flip(-1))[:, 0].sigmoid().flip(-1)) / 2
    got = predict(model, images, tta=tta)
    assert got.shape == (2, 37, 101)
    np.testing.assert_allclose(got, want[:, 13:50, 13:114], atol=1e-5)


def test_probabilities_of_several_classes_sum_to_1():
    model = tiny(num_classes=3)
    images = tiles()
    got = predict(model, images)
    assert got.shape == (3, 3, 37, 50)
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(got, by_hand(model, unit_of(images, 255)[:, None]), atol=1e-5)
    assert predict(model, images[0]).shape == (3, 37, 50)
    assert predict(model, [images[0], images[1][:33]])[1].shape == (3, 33, 50)


def test_gray_tiles_are_repeated_for_a_model_of_three_channels():
    model = tiny(in_chans=3)
    images = tiles()
    repeated = np.repeat(images[:, None], 3, axis=1)
    np.testing.assert_allclose(predict(model, images), predict(model, repeated), atol=1e-6)
    colours = np.stack([images, images // 2, 255 - images], axis=1)
    want = by_hand(model, unit_of(colours, 255))
    np.testing.assert_allclose(predict(model, colours), want, atol=1e-5)
    np.testing.assert_allclose(predict(model, [colours[0]])[0], want[0], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_of_another_precision_gives_float32(model, dtype):
    images = tiles()
    got = predict(tiny().to(dtype), images)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, predict(tiny(), images), atol=0.05 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize(
    ("images", "options", "kind", "words"),
    [
        (tiles().astype(np.float32) * 255, {}, ValueError, "must be in 0..1 without NaN"),
        (-tiles(dtype=np.float32), {}, ValueError, "give (images + 1) / 2"),
        (np.full((1, 40, 40), np.nan), {}, ValueError, "without NaN"),
        (torch.full((40, 40), float("inf")), {}, ValueError, "without NaN"),
        (tiles().astype(np.int64), {}, ValueError, "got torch.int64"),
        (tiles() > 100, {}, ValueError, "got torch.bool"),
        (np.zeros((2, 3, 40, 40), np.uint8), {}, ValueError, "this model of 1 channel(s); got (2, 3, 40, 40)"),
        (np.zeros(40, np.uint8), {}, ValueError, "got (40,)"),
        (np.zeros((1, 1, 1, 40, 40), np.uint8), {}, ValueError, "got (1, 1, 1, 40, 40)"),
        ([np.zeros((1, 1, 40, 40), np.uint8)], {}, TypeError, "item 0 is (1, 1, 40, 40)"),
        ([tiles()[0], "tile.png"], {}, TypeError, "item 1 is str"),
        ([tiles()[0], np.zeros((2, 40, 40), np.uint8)], {}, ValueError, "got (1, 2, 40, 40)"),
        (tiles(), {"tta": "vflip"}, ValueError, "unknown tta 'vflip'"),
        (tiles(), {"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ],
)
def test_errors_name_the_given_value(model, images, options, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        predict(model, images, **options)


def test_refuses_a_model_without_a_preprocess(model):
    with pytest.raises(TypeError, match=r"Conv2d is not a saltzoo model.*`.module`"):
        predict(torch.nn.Conv2d(1, 1, 1), tiles())


def test_a_model_of_a_user_needs_only_a_preprocess():
    torch.manual_seed(0)
    model = torch.nn.Conv2d(1, 1, 3, padding=1)
    model.preprocess = saltzoo.Preprocess(mean=(0.5,), std=(0.25,))
    tile = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    want = model((torch.from_numpy(tile)[None, None] - 0.5) / 0.25).sigmoid()[0, 0]
    np.testing.assert_allclose(saltzoo.predict(model, tile), want.detach().numpy(), rtol=1e-5)
