"""Masks of several classes: in tiles, from folders and through augmentation."""

import numpy as np
import pytest
import torch
from PIL import Image

from saltzoo.data import Augment, Tiles, read_folder
from saltzoo.data.augment import warp


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def labels_of(count=6, height=21, width=33, classes=4, seed=0):
    return torch.randint(classes, (count, height, width), generator=seeded(seed), dtype=torch.uint8)


# Tiles


def test_tiles_take_labels_and_keep_them():
    images, labels = np.zeros((3, 4, 5), np.uint8), labels_of(3, 4, 5).numpy()
    tiles = Tiles(("a", "b", "c"), images, labels)
    assert tiles.require_masks() is labels
    np.testing.assert_array_equal(tiles.select([2, 0]).masks, labels[[2, 0]])
    np.testing.assert_array_equal(tiles.coverage, [np.mean([v != 0 for v in one.ravel()]) for one in labels])


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16, np.float32])
def test_other_dtypes_of_masks_are_refused(dtype):
    with pytest.raises(ValueError, match=r"masks must be bool .* or uint8 .* labels.astype\(np.uint8\)"):
        Tiles(("a",), np.zeros((1, 4, 5), np.uint8), np.zeros((1, 4, 5), dtype))


# Folders


def write(folder, arrays, suffix="png"):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        Image.fromarray(array).save(folder / f"{name}.{suffix}")
    return folder


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 3, size, dtype=np.uint8) for name, size in {"a": (8, 8), "b": (8, 12)}.items()}


@pytest.fixture
def images(tmp_path, drawn):
    return write(tmp_path / "images", {name: np.zeros_like(labels) for name, labels in drawn.items()})


@pytest.mark.parametrize(
    ("dtype", "suffix"), [(np.uint8, "png"), (np.uint16, "png"), (np.uint8, "tif"), (np.float32, "tif")]
)
def test_samples_are_classes(tmp_path, images, drawn, dtype, suffix):
    masks = write(tmp_path / "masks", {name: labels.astype(dtype) for name, labels in drawn.items()}, suffix)
    tiles = read_folder(images, masks, size=8, stride=4, classes=3)
    assert tiles.masks.dtype == np.uint8
    expected = [drawn["a"], drawn["b"][:, :8], drawn["b"][:, 4:]]
    np.testing.assert_array_equal(tiles.masks, expected)


def test_a_table_gives_the_class_of_each_sample(tmp_path, images, drawn):
    gray = np.array([0, 128, 200], np.uint8)
    masks = write(tmp_path / "masks", {name: gray[labels] for name, labels in drawn.items()})
    tiles = read_folder(images, masks, size=8, classes={0: 0, 128: 2, 200: 1})
    np.testing.assert_array_equal(tiles.masks[0], np.array([0, 2, 1])[drawn["a"]])
    merged = read_folder(images, masks, size=8, classes={0: 0, 128: 1, 200: 1})
    np.testing.assert_array_equal(merged.masks[0], drawn["a"] > 0)


def test_unknown_pixels_keep_their_value(tmp_path, images, drawn):
    unknown = {name: np.where(labels == 1, 255, labels).astype(np.uint8) for name, labels in drawn.items()}
    masks = write(tmp_path / "masks", unknown)
    tiles = read_folder(images, masks, size=8, classes=3, ignore_index=255)
    np.testing.assert_array_equal(tiles.masks[0], unknown["a"])
    with pytest.raises(ValueError, match=r"a\.png must hold the values 0, 1, 2 of the classes, got 0, 2, 255: pass"):
        read_folder(images, masks, size=8, classes=3)


def test_bits_are_classes_and_a_file_with_inverted_samples_is_refused(tmp_path):
    salt = np.random.default_rng(1).random((8, 8)) > 0.5
    images = write(tmp_path / "images", {"a": np.zeros((8, 8), np.uint8)})
    masks = write(tmp_path / "masks", {"a": salt})
    np.testing.assert_array_equal(read_folder(images, masks, size=8, classes=2).masks[0], salt)
    white = tmp_path / "white"
    white.mkdir()
    Image.fromarray(salt.astype(np.float32)).save(white / "a.tif", tiffinfo={262: 0})
    with pytest.raises(ValueError, match="stores white as 0"):
        read_folder(images, white, size=8, classes=2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"classes": 1}, ValueError, "classes must be the number of classes, 2 to 256"),
        ({"classes": 257}, ValueError, "2 to 256"),
        ({"classes": 10**12}, ValueError, "2 to 256"),
        ({"classes": -3}, ValueError, "2 to 256"),
        ({"classes": {}}, ValueError, "2 to 256"),
        ({"classes": {0: 0, 1: 256}}, ValueError, "each 0 to 255"),
        ({"classes": {0: 0, 1: -1}}, ValueError, "each 0 to 255"),
        ({"classes": True}, TypeError, "classes must be a whole number"),
        ({"classes": 3.0}, TypeError, "classes must be a whole number"),
        ({"classes": {"0": 0, "1": 1}}, TypeError, "got '0'"),
        ({"classes": 3, "ignore_index": 2}, ValueError, "neither a class nor a sample of one, got 2"),
        ({"classes": {0: 0, 7: 255}, "ignore_index": 255}, ValueError, "neither a class"),
        ({"classes": 3, "ignore_index": -1}, ValueError, "ignore_index must be 0 to 255"),
        ({"classes": 3, "ignore_index": 2.5}, TypeError, "ignore_index must be a whole number"),
        ({"ignore_index": 255}, ValueError, "needs classes"),
        ({"classes": 2, "masks": None}, ValueError, "masks=None"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, images, drawn, options, error, words):
    masks = write(tmp_path / "masks", drawn)
    with pytest.raises(error, match=words):
        read_folder(images, **{"masks": masks, "size": 8, **options})


# Augmentation


def test_labels_move_with_their_pixels():
    """An image that shows its labels still shows them after flips and warps, except at their borders."""
    blocks = labels_of(40, 6, 6).repeat_interleave(10, 1).repeat_interleave(10, 2)
    images, moved = Augment(affine=1, photometric=0)(blocks.float() / 4, blocks, generator=seeded(), num_classes=4)
    assert moved.dtype == torch.uint8
    same = (images * 4 - moved).abs() < 1e-4
    assert same.float().mean() > 0.75
    assert ((images * 4 - moved).abs() <= 3 * 3 / 4 + 1e-4).all()  # the nearest of four pixels has a quarter or more
    assert (moved != blocks).float().mean() > 0.3


def test_labels_are_the_nearest_pixel():
    """Each label through the warp alone, by an independent lookup in numpy."""
    labels = labels_of(5, 15, 15, classes=5)
    shift = Augment(flip=0, affine=1, photometric=0, x_scale=(1, 1), y_scale=(1, 1), shear=0, rotate=0, shift=6)
    _, moved = shift(torch.zeros(5, 15, 15), labels, generator=seeded(3), num_classes=5)
    draws = torch.rand(12, 5, generator=seeded(3))
    padded = np.pad(labels.numpy(), ((0, 0), (8, 8), (8, 8)), mode="symmetric")
    for one, out, (right, down) in zip(padded, moved.numpy(), (draws[7:9].T.numpy() * 2 - 1) * 6, strict=True):
        rows, columns = (np.rint(np.arange(15) - by).astype(int) + 8 for by in (down, right))
        np.testing.assert_array_equal(out, one[np.ix_(rows, columns)])


def at_border(mask):
    """Return which pixels have salt and background among themselves and their eight neighbours."""
    salt = torch.nn.functional.max_pool2d(mask.float()[:, None], 3, 1, 1)
    background = torch.nn.functional.max_pool2d(1 - mask.float()[:, None], 3, 1, 1)
    return ((salt > 0) & (background > 0))[:, 0]


def test_two_classes_move_like_a_mask_except_at_borders():
    images = torch.rand(20, 40, 40, generator=seeded(1))
    salt = torch.nn.functional.avg_pool2d(torch.rand(20, 1, 40, 40, generator=seeded(2)), 9, 1, 4)[:, 0] > 0.5
    one, mask = Augment()(images, salt, generator=seeded(4))
    two, labels = Augment()(images, salt.long(), generator=seeded(4), num_classes=2)
    assert torch.equal(one, two)
    assert labels.dtype == torch.int64
    differ = labels.bool() != mask
    assert not (differ & ~at_border(mask) & ~at_border(labels.bool())).any()
    assert differ.float().mean() < 0.03


def test_unknown_pixels_move_like_a_class():
    labels = labels_of(8, classes=4)
    images = torch.rand(8, 21, 33, generator=seeded(1))
    _, known = Augment()(images, labels, generator=seeded(), num_classes=4)
    _, ignored = Augment()(
        images, labels.masked_fill(labels == 3, 255), generator=seeded(), num_classes=3, ignore_index=255
    )
    assert torch.equal(ignored, known.masked_fill(known == 3, 255))


def test_nothing_drawn_changes_nothing():
    labels = labels_of().long()
    images = torch.rand(6, 21, 33, generator=seeded(1))
    same = Augment(flip=0, affine=0, photometric=0)(images, labels, generator=seeded(), num_classes=4)
    assert torch.equal(same[0], images)
    assert torch.equal(same[1], labels)
    mirrored = Augment(flip=1, affine=0, photometric=0)(images, labels, generator=seeded(), num_classes=4)
    assert torch.equal(mirrored[1], labels.flip(-1))


@pytest.mark.parametrize(
    ("masks", "options", "words"),
    [
        (labels_of(), {"num_classes": 3}, "masks must hold 0 to 2, got the values 0, 1, 2, 3"),
        (labels_of().long() - 1, {"num_classes": 4}, "masks must hold 0 to 3, got the values -1"),
        (labels_of(), {"num_classes": 4, "ignore_index": 3}, "ignore_index must not be a class, 0 to 3, got 3"),
        (labels_of() > 0, {"num_classes": 2}, "masks of 2 classes must be integers, got torch.bool"),
        (labels_of().float(), {"num_classes": 4}, "must be integers, got torch.float32"),
        (labels_of(), {"num_classes": 0}, "num_classes must be at least 1"),
        (labels_of(), {"num_classes": 4, "ignore_index": -100}, "cannot occur"),
        (labels_of(), {}, "masks must be bool"),
    ],
)
def test_labels_that_do_not_fit_are_refused(masks, options, words):
    with pytest.raises(ValueError, match=words):
        Augment()(torch.zeros(6, 21, 33), masks, **options)


def test_the_nearest_mode_of_warp_is_a_lookup():
    x = labels_of().double()[:, None]
    moved = warp(x, torch.eye(2).double().expand(6, 2, 2), torch.full((6, 2), 0.3).double(), mode="nearest")
    assert torch.equal(moved, x)
