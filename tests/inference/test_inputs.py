"""What predict takes: scalars, empty batches of every model, and hints that work when they are followed."""

import re

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo import Preprocess, predict

QUICK = ("frrn_a", "pspunet_small_scse_gum", "resunet_101", "saltnet_s", "unet_resnet18_scse", "unet_plain")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in saltzoo.list_models()]


def small(**options):
    torch.manual_seed(0)
    return saltzoo.create_model("saltnet_s", channels=(8, 12), decoder_channels=(8,), **options)


def deep(**options):
    torch.manual_seed(0)
    return saltzoo.create_model("resunet_101", base_channels=4, in_chans=2, scalar_channel="bottleneck", **options)


def pictures(*shape, dtype=np.uint8):
    full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    return (np.random.default_rng(0).random(shape) * full).astype(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_takes_an_empty_batch(name):
    model = saltzoo.create_model(name)
    assert predict(model, np.zeros((0, 101, 101), np.uint8)).shape == (0, 101, 101)
    with torch.no_grad():
        output = model.eval()(torch.zeros(0, 1, 101, 101))
    logits = output if model.returns_mask else output.logits
    assert logits.shape == (0, 1, 101, 101)


@pytest.mark.parametrize("tta", [None, "hflip"])
def test_an_empty_batch_has_the_container_of_its_images(tta):
    model = small(num_classes=3)
    got = predict(model, torch.zeros(0, 40, 37), tta=tta)
    assert (type(got), got.shape, got.dtype) == (torch.Tensor, (0, 3, 40, 37), torch.float32)
    assert predict(small(in_chans=3), np.zeros((0, 3, 40, 37))).shape == (0, 40, 37)
    assert predict(model, []) == []
    assert predict(deep(), np.zeros((0, 40, 37)), scalars=[]).shape == (0, 40, 37)


def test_a_users_model_that_cannot_take_an_empty_batch_is_not_given_one():
    class Flat(torch.nn.Module):
        preprocess = Preprocess.gray()

        def forward(self, x):
            return x.reshape(len(x), -1).reshape(x.shape)

    assert predict(Flat(), np.zeros((0, 5, 6), np.uint8)).shape == (0, 5, 6)
    assert predict(Flat(), np.full((2, 5, 6), 0.47)).tolist() == np.full((2, 5, 6), 0.5).tolist()


@torch.no_grad()
def by_hand(model, images, depths):
    """Probabilities of float images N H W in 0..1, from the plane of standardised depths."""
    planes = ((torch.tensor(depths) - 516) / 228)[:, None, None].expand(images.shape)
    x = torch.stack([(torch.from_numpy(images) - 0.47) / 0.16, planes], dim=1)
    return model.eval()(x.float())[:, 0].sigmoid().numpy()


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda d: np.array(d, ">f4"),
        lambda d: torch.tensor(d)[:, None],
        lambda d: [np.float32(x) for x in d],
    ],
)
def test_scalars_become_a_plane(wrap):
    images, depths = pictures(3, 40, 37, dtype=np.float64), [100.0, 516.0, 900.0]
    want = by_hand(deep(), images, depths)
    model = deep()
    np.testing.assert_allclose(predict(model, images, scalars=wrap(depths), batch_size=2), want, atol=1e-5)
    np.testing.assert_allclose(predict(model, list(images), scalars=wrap(depths))[2], want[2], atol=1e-5)
    np.testing.assert_allclose(predict(model, images[0], scalars=depths[0]), want[0], atol=1e-5)
    assert np.abs(predict(model, images, scalars=wrap(depths[::-1])) - want).max() > 1e-3
    mirrored = by_hand(deep(), images[..., ::-1].copy(), depths)[..., ::-1]
    got = predict(model, images, scalars=wrap(depths), tta="hflip")
    np.testing.assert_allclose(got, (want + mirrored) / 2, atol=1e-5)


def test_scalars_of_a_list_of_several_sizes_stay_with_their_images():
    model, images = deep(), [pictures(40, 37), pictures(33, 34), pictures(1, 40, 37)]
    got = predict(model, images, scalars=[100, 900, 500])
    for image, depth, one in zip(images, [100, 900, 500], got, strict=True):
        np.testing.assert_allclose(one, predict(model, image.reshape(image.shape[-2:]), scalars=depth), atol=1e-5)


def test_a_users_network_reads_a_scalar_when_its_preprocess_has_one():
    model = torch.nn.Conv2d(2, 1, 1)
    model.preprocess = Preprocess(mean=(0.0, 10.0), std=(1.0, 5.0), scalar=True)
    with torch.no_grad():
        model.weight[:] = torch.tensor([0.0, 1.0])[:, None, None]
        model.bias[:] = 0
    got = predict(model, np.zeros((2, 3, 4)), scalars=[10, 20])
    np.testing.assert_allclose(got[:, 0, 0], [0.5, 1 / (1 + np.exp(-2))], rtol=1e-6)


@pytest.mark.parametrize(
    ("scalars", "kind", "words"),
    [
        (None, ValueError, "reads a number for each image, such as its depth, which is missing: give scalars"),
        ([1.0, 2.0], ValueError, "one number for each of 3 image(s), got shape (2,)"),
        (5.0, ValueError, "one number for each of 3 image(s), got shape ()"),
        (np.zeros((3, 2)), ValueError, "got shape (3, 2)"),
        ([1.0, float("nan"), 2.0], ValueError, "must be finite, got nan for image 1: where a number is unknown"),
        (torch.tensor([1.0, 2.0, float("inf")]), ValueError, "got inf for image 2"),
        (["1", "2", "3"], TypeError, "scalars must be numbers, one for each image"),
        ([True, False, True], TypeError, "scalars must be numbers"),
        (torch.ones(3, dtype=torch.bool), TypeError, "scalars must be numbers"),
        ([[1], [2, 3], []], TypeError, "scalars must be numbers"),
        ("deep", TypeError, "scalars must be numbers"),
    ],
)
def test_scalars_that_do_not_fit_are_refused(scalars, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        predict(deep(), pictures(3, 40, 37), scalars=scalars)


def test_scalars_are_refused_by_a_model_that_reads_none():
    with pytest.raises(ValueError, match="reads no number besides the image: drop scalars"):
        predict(small(), pictures(2, 40, 37), scalars=[1, 2])
    with pytest.raises(ValueError, match=re.escape("images (N, 1, H, W)")):
        predict(deep(), pictures(2, 2, 40, 37), scalars=[1, 2])


def test_a_network_with_a_scalar_keeps_one():
    model = deep()
    with pytest.raises(
        ValueError, match=re.escape("mean and std last, and scalar=True, got Preprocess(mean=(0.47, 0.47)")
    ):
        model.preprocess = Preprocess.gray(2)
    model.preprocess = mine = Preprocess(mean=(0.5, 0.0), std=(0.5, 1.0), scalar=True)
    assert model.preprocess is mine


def test_a_network_with_a_scalar_is_saved_with_it(tmp_path):
    model = deep()
    folder = saltzoo.save_pretrained(model, tmp_path)
    again = saltzoo.create_model(f"local-dir:{folder}")
    images, depths = pictures(2, 40, 37), [100, 900]
    np.testing.assert_allclose(
        predict(again, images, scalars=depths), predict(model, images, scalars=depths), atol=1e-6
    )
    assert "scalars=[0.0]" in (folder / "README.md").read_text(encoding="utf-8")
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"scalar": true', '"multiple": 1'), encoding="utf-8")
    with pytest.raises(ValueError, match="such as its depth, which is missing"):
        predict(saltzoo.create_model(f"local-dir:{folder}"), images)


HINTS = [
    (pictures(40, 37, 3), 1, "(images[..., :3] / 255).mean(-1)"),
    (pictures(40, 37, 4, dtype=np.uint16), 1, "(images[..., :3] / 65535).mean(-1)"),
    (pictures(2, 40, 37, 3, dtype=np.float32), 1, "(images[..., :3]).mean(-1)"),
    (torch.from_numpy(pictures(40, 37, 3)), 1, "(images[..., :3] / 255).mean(-1)"),
    (pictures(40, 37, 1), 1, "images[..., 0]"),
    (pictures(2, 40, 37, 1), 3, "images[..., 0]"),
    (pictures(40, 37, 3), 3, "numpy.moveaxis(images, -1, -3)[None]"),
    (pictures(2, 40, 37, 3), 3, "numpy.moveaxis(images, -1, -3)"),
    (torch.from_numpy(pictures(40, 37, 3)), 3, "images.movedim(-1, -3)[None]"),
    (pictures(40, 37, 4), 3, "(images[..., :3] / 255).mean(-1)"),
    (pictures(2, 40, 37, dtype=np.float32) * 2 - 1, 1, "(images + 1) / 2"),
    (pictures(2, 40, 37, dtype=np.float32) * 255, 1, "divide them by 255"),
    (pictures(2, 40, 37, dtype=np.float64) * 65535, 1, "divide them by 65535"),
    (pictures(2, 40, 37, dtype=np.float64) * 4000, 1, "divide them by 65535"),
    (pictures(2, 40, 37, dtype=np.float64) * 1.001, 1, "images.clip(0, 1)"),
    (pictures(2, 40, 37, dtype=np.float64) * 6 - 3, 1, "((images - low) / (high - low)).clip(0, 1)"),
]


@pytest.mark.parametrize(("images", "channels", "hint"), HINTS)
def test_a_hint_helps(images, channels, hint):
    model = small(in_chans=channels)
    with pytest.raises(ValueError, match=re.escape(hint)):
        predict(model, images)
    code = hint.replace("divide them by", "images /")
    low, high = (np.quantile(images, q) for q in (0.01, 0.99))
    helped = eval(code, {"images": images, "numpy": np, "low": low, "high": high})
    count = 2 if images.shape[0] == 2 else 1
    assert predict(model, helped).reshape(-1, 40, 37).shape[0] == count


def test_standardised_images_are_told_how_to_become_what_they_were():
    raw = pictures(2, 40, 37, dtype=np.float64)
    mean, std = raw.mean(), raw.std()
    images = (raw - mean) / std
    with pytest.raises(ValueError, match=re.escape("give them as they were before, images * std + mean")):
        predict(small(), images)
    restored = (images * std + mean).clip(0, 1)
    np.testing.assert_allclose(predict(small(), restored), predict(small(), raw), atol=1e-5)


def test_a_value_just_beyond_1_is_told_in_all_its_digits():
    with pytest.raises(ValueError, match=re.escape("got 0 to 1.0000001192092896: clip them")):
        predict(
            small(), np.array([0, np.nextafter(np.float32(1), np.float32(2))], np.float32).repeat(800).reshape(40, 40)
        )


def test_the_hint_for_a_list_names_the_item():
    with pytest.raises(ValueError, match=r"item 1: got \(1, 40, 37, 3\): the last axis seems to hold 3"):
        predict(small(), [pictures(40, 37), pictures(40, 37, 3)])


@pytest.mark.parametrize(
    ("channels", "shape"), [(1, (40, 37, 3)), (1, (2, 40, 37, 3)), (3, (40, 37, 3)), (3, (2, 40, 37, 3))]
)
def test_the_hint_of_a_network_for_channels_that_come_last_helps(channels, shape):
    model, x = small(in_chans=channels), torch.rand(shape)
    with pytest.raises(ValueError, match="its last axis seems to hold") as error:
        model(x)
    code = re.search(r"x[\[.].*", str(error.value)).group()
    assert model(eval(code, {"x": x})).shape[-2:] == (40, 37)


@pytest.mark.parametrize(("given", "word"), [(None, "NoneType"), ("tile.png", "str"), (iter([]), "list_iterator")])
def test_what_is_no_array_and_no_list_is_refused(given, word):
    with pytest.raises(TypeError, match=f"images must be tiles as a numpy array .*, or a list of them, got {word}"):
        predict(small(), given)


def test_a_batch_size_that_is_no_whole_number_is_refused():
    with pytest.raises(TypeError, match=r"batch_size must be a whole number of at least 1, got 1\.5"):
        predict(small(), pictures(2, 40, 40), batch_size=1.5)
