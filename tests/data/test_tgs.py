"""The reader of the TGS challenge: every layout, every kind of damage."""

import csv
import io
import logging
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saltzoo.data.tgs import read_tgs

SHAPE = (101, 101)
REAL = Path(__file__).parents[3] / "shared" / "data" / "tgs"


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def salt(seed):
    return np.random.default_rng(100 + seed).random(SHAPE) > 0.5


def mask_png(mask, dtype=np.uint16):
    return png(mask.astype(dtype) * np.iinfo(dtype).max)


def entries(ids="ba"):
    """Return files of tiles out of order, as RGB and as gray, with 16-bit and 8-bit masks."""
    files = {}
    for seed, id_ in enumerate(ids):
        gray = picture(seed)
        files[f"images/{id_}.png"] = png(gray if seed % 2 else np.repeat(gray[..., None], 3, axis=2))
        files[f"masks/{id_}.png"] = mask_png(salt(seed), np.uint8 if seed % 2 else np.uint16)
    return files


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def write_folder(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def lay_out(root, layout, files):
    """Write the files in one of the layouts and return the root for read_tgs."""
    inside = {f"train/{name}": data for name, data in files.items()}
    if layout == "zip":
        write_zip(root / "train.zip", files)
    elif layout == "zip with a leading folder":
        write_zip(root / "train.zip", inside)
    elif layout == "the zip itself":
        write_zip(root / "any name.zip", files)
        return root / "any name.zip"
    elif layout == "unpacked":
        write_folder(root, inside)
    elif layout == "root itself":
        write_folder(root, files)
    return root


LAYOUTS = ["zip", "zip with a leading folder", "the zip itself", "unpacked", "root itself"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_same_tiles(tmp_path, layout):
    root = lay_out(tmp_path, layout, entries())
    (tmp_path / "depths.csv").write_text("id,z\nother,5\nb,673\n")
    tiles = read_tgs(root)
    assert tiles.ids == ("a", "b")
    np.testing.assert_array_equal(tiles.images, [picture(1), picture(0)])
    np.testing.assert_array_equal(tiles.masks, [salt(1), salt(0)])
    np.testing.assert_array_equal(tiles.depths, np.array([np.nan, 673], dtype=np.float32))
    assert tiles.depths.dtype == np.float32


def test_root_may_be_a_string_and_depths_may_be_missing(tmp_path):
    assert read_tgs(str(lay_out(tmp_path, "zip", entries()))).depths is None


def test_the_test_split_has_no_masks(tmp_path):
    write_zip(tmp_path / "test.zip", {"images/a.png": png(picture(0))})
    write_zip(tmp_path / "train.zip", entries())
    tiles = read_tgs(tmp_path, split="test")
    assert tiles.ids == ("a",)
    assert tiles.masks is None


def test_the_zip_is_read_before_the_folder(tmp_path):
    write_folder(tmp_path, {"train/images/half.png": b"unpacking was cut short"})
    write_zip(tmp_path / "train.zip", entries())
    assert read_tgs(tmp_path).ids == ("a", "b")


def test_other_files_are_ignored(tmp_path):
    files = {**entries(), "images/._a.png": b"x", "__MACOSX/images/a.png": b"x", "images/Thumbs.db": b"x"}
    assert read_tgs(lay_out(tmp_path, "zip", files)).ids == ("a", "b")


@pytest.mark.parametrize(("value", "dtype"), [(1, np.uint8), (255, np.uint8), (1, np.uint16), (65535, np.uint16)])
def test_salt_is_where_the_mask_is_above_0(tmp_path, value, dtype):
    pixels = np.zeros(SHAPE, dtype)
    pixels[3, 5] = value
    tiles = read_tgs(lay_out(tmp_path, "zip", {"images/a.png": png(picture(0)), "masks/a.png": png(pixels)}))
    np.testing.assert_array_equal(np.argwhere(tiles.masks), [[0, 3, 5]])


@pytest.mark.parametrize(
    ("value", "salt", "dtype"), [(2, 255, np.uint8), (2, 0, np.uint8), (128, 255, np.uint8), (1, 65535, np.uint16)]
)
def test_a_mask_of_other_values_is_refused(tmp_path, value, salt, dtype):
    pixels = np.zeros(SHAPE, dtype)
    pixels[:40], pixels[3, 5] = salt, value
    files = {"images/a.png": png(picture(0)), "masks/a.png": png(pixels)}
    with pytest.raises(
        ValueError, match=r"masks/a\.png in .* must hold 0 .* and one of 1, 255 and 65535 for salt, got"
    ):
        read_tgs(lay_out(tmp_path, "zip", files))


def test_masks_that_mark_salt_by_1_and_by_white_are_refused(tmp_path):
    """255 in a folder of masks of 0 and 1 marks unknown pixels."""
    one, white = salt(0) * np.uint8(1), salt(1) * np.uint8(255)
    files = {f"images/{id_}.png": png(picture(0)) for id_ in "abc"}
    files |= {"masks/a.png": png(np.zeros(SHAPE, np.uint8)), "masks/b.png": png(one), "masks/c.png": png(white)}
    with pytest.raises(
        ValueError, match=r"by one value, got 1 in masks/b\.png and 255 in masks/c\.png: write 0 and 255"
    ):
        read_tgs(lay_out(tmp_path, "zip", files))


def test_a_one_bit_mask_is_read(tmp_path):
    files = {"images/a.png": png(picture(0)), "masks/a.png": png(salt(0))}
    np.testing.assert_array_equal(read_tgs(lay_out(tmp_path, "zip", files)).masks[0], salt(0))


def test_constant_tiles_are_reported(tmp_path, caplog):
    files = entries() | {"images/a.png": png(np.full(SHAPE, 7, np.uint8))}
    with caplog.at_level(logging.INFO, logger="saltzoo.data.tgs"):
        read_tgs(lay_out(tmp_path, "zip", files))
    assert "2 tiles, 1 of them constant" in caplog.text


def test_the_error_of_a_missing_folder_describes_the_layout(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere does not exist: give a folder that holds train\.zip or test\.zip"
    ):
        read_tgs(tmp_path / "nowhere")


@pytest.mark.parametrize("layout", ["zip", "root itself"])
def test_a_folder_without_tiles_is_refused(tmp_path, layout):
    with pytest.raises(FileNotFoundError, match=r"no images/ID\.png in .* for split 'train'"):
        read_tgs(lay_out(tmp_path, layout, {"readme.txt": b"x"}))


def test_a_truncated_zip_is_refused(tmp_path):
    path = lay_out(tmp_path, "the zip itself", entries())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"any name\.zip is not a complete zip .*download it again"):
        read_tgs(path)


def test_a_zip_with_damage_in_the_middle_is_refused(tmp_path):
    path = lay_out(tmp_path, "the zip itself", entries())
    data = bytearray(path.read_bytes())
    data[500:600] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"is not a complete zip .*images/b\.png"):
        read_tgs(path)


@pytest.mark.parametrize("layout", ["zip", "root itself"])
@pytest.mark.parametrize("cut", [0, 20, 60, 3000])
def test_an_undecodable_png_is_named(tmp_path, layout, cut):
    files = entries() | {"images/a.png": png(picture(0))[:cut]}
    with pytest.raises(ValueError, match=r"images/a\.png in .* cannot be decoded as PNG"):
        read_tgs(lay_out(tmp_path, layout, files))


def test_a_jpeg_named_png_is_refused(tmp_path):
    file = io.BytesIO()
    Image.fromarray(picture(0)).save(file, "JPEG")
    with pytest.raises(ValueError, match=r"images/a\.png .* cannot be decoded as PNG"):
        read_tgs(lay_out(tmp_path, "zip", entries() | {"images/a.png": file.getvalue()}))


@pytest.mark.parametrize("layout", ["zip with a leading folder", "unpacked"])
def test_a_tile_without_a_mask_is_refused(tmp_path, layout):
    files = entries()
    del files["masks/a.png"]
    with pytest.raises(ValueError, match=r"1 of 2 tiles in .* have no mask \(the first: a\).*split='test'"):
        read_tgs(lay_out(tmp_path, layout, files))


@pytest.mark.parametrize("layout", ["zip with a leading folder", "unpacked"])
def test_a_mask_without_a_tile_is_refused(tmp_path, layout):
    files = entries()
    del files["images/a.png"]
    with pytest.raises(ValueError, match=r"1 of 2 masks in .* have no tile \(the first: a\)"):
        read_tgs(lay_out(tmp_path, layout, files))


def test_labelled_tiles_are_not_a_test_split(tmp_path):
    with pytest.raises(ValueError, match="holds 2: pass split='train'"):
        read_tgs(lay_out(tmp_path, "root itself", entries()), split="test")


@pytest.mark.parametrize("name", ["images/a.png", "masks/a.png"])
def test_an_image_of_another_size_is_named(tmp_path, name):
    files = entries() | {name: png(np.zeros((128, 90), np.uint8))}
    with pytest.raises(ValueError, match=rf"{name} in .* must be 101 x 101 pixels, .* got 90 x 128: give the original"):
        read_tgs(lay_out(tmp_path, "zip", files))


def test_a_colour_picture_is_refused(tmp_path):
    colour = np.repeat(picture(0)[..., None], 3, axis=2)
    colour[50, 50, 2] ^= 1
    with pytest.raises(ValueError, match=r"images/a\.png in .* is a colour image"):
        read_tgs(lay_out(tmp_path, "zip", entries() | {"images/a.png": png(colour)}))


@pytest.mark.parametrize(
    ("name", "pixels", "mode"),
    [
        ("images/a.png", np.zeros(SHAPE, np.uint16), "I"),
        ("images/a.png", np.zeros((*SHAPE, 4), np.uint8), "RGBA"),
        ("masks/a.png", np.zeros((*SHAPE, 3), np.uint8), "RGB"),
    ],
)
def test_another_kind_of_png_is_refused(tmp_path, name, pixels, mode):
    with pytest.raises(ValueError, match=rf"{name} in .* must have one of the Pillow modes .*, got '{mode}"):
        read_tgs(lay_out(tmp_path, "zip", entries() | {name: png(pixels)}))


def test_an_id_that_occurs_twice_in_a_zip_is_refused(tmp_path):
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        warnings.simplefilter("ignore")  # zipfile warns about the duplicate
        for name in ("images/a.png", "masks/a.png", "images/a.png"):
            archive.writestr(name, entries()[name])
    with pytest.raises(ValueError, match="the id 'a' occurs twice"):
        read_tgs(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,depth\na,1\n", r"must have the columns id,z, got \['name', 'depth'\]"),
        ("", "must have the columns id,z, got None"),
        ("id,z\na,1\na,2\n", "the id 'a' occurs twice"),
        ("id,z\nb,1\na,deep\n", "line 3: the depth of 'a' must be a number, got 'deep': correct it"),
        ("id,z\na\n", "line 2: the depth of 'a' must be a number, got None"),
    ],
)
def test_bad_depths_are_refused(tmp_path, text, message):
    (tmp_path / "depths.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_tgs(lay_out(tmp_path, "zip", entries()))


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown split 'valid': choose one of 'train', 'test'"):
        read_tgs(tmp_path, split="valid")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the competition's data is not at {REAL}")
def test_the_real_data():
    tiles = read_tgs(REAL)
    assert len(tiles) == 3200
    assert list(tiles.ids) == sorted(tiles.ids)
    assert np.isfinite(tiles.depths).all()
    assert (tiles.coverage == 0).mean() == pytest.approx(0.39, abs=0.005)

    with (REAL / "train.csv").open(newline="") as file:
        runs_of = {row["id"]: [int(word) for word in row["rle_mask"].split()] for row in csv.DictReader(file)}
    assert runs_of.keys() == set(tiles.ids)
    for id_, mask in zip(tiles.ids, tiles.masks, strict=True):
        flat = np.zeros(mask.size, bool)
        for start, length in zip(runs_of[id_][::2], runs_of[id_][1::2], strict=True):
            flat[start - 1 : start - 1 + length] = True
        np.testing.assert_array_equal(mask, flat.reshape(mask.shape, order="F"), err_msg=id_)

    unlabelled = read_tgs(REAL, split="test")
    assert len(unlabelled) == 4861
    assert unlabelled.masks is None
    assert np.isfinite(unlabelled.depths).all()
