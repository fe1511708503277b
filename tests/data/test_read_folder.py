"""Folders of pictures: their tiles put together again are the pictures, and every unclear file is refused."""

import numpy as np
import pytest
from PIL import Image

from saltzoo.data import folds_by_id, picture_of, read_folder

SIZES = {"line10": (130, 101), "line9": (101, 250), "a_b": (101, 101), "deep": (161, 220)}


def write(folder, arrays, suffix="png"):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        Image.fromarray(array).save(folder / f"{name}.{suffix}")
    return folder


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, size, dtype=np.uint8) for name, size in SIZES.items()}


def put_together(tiles, values, name, shape):
    """Return the picture that the tiles of one name make, and how many tiles each pixel is in."""
    out, count = np.zeros(shape, values.dtype), np.zeros(shape, int)
    for id_, value in zip(tiles.ids, values, strict=True):
        picture, row, column = id_.rsplit("_", 2)
        if picture == name:
            place = np.s_[
                int(row[1:]) : int(row[1:]) + value.shape[0], int(column[1:]) : int(column[1:]) + value.shape[1]
            ]
            assert ((out[place] == value) | (count[place] == 0)).all()
            out[place], count[place] = value, count[place] + 1
    return out, count


@pytest.mark.parametrize(("size", "stride"), [(101, None), (101, 50), (64, 64), (32, 31), (1, 1)])
def test_tiles_put_together_are_the_pictures_and_masks(tmp_path, pictures, size, stride):
    if size == 1:
        pictures = {"line9": pictures["line9"][:5, :7]}
    images = write(tmp_path / "images", pictures, "tif")
    masks = write(tmp_path / "masks", {name: (p > 99) * np.uint8(255) for name, p in pictures.items()})
    tiles = read_folder(images, masks, size=size, stride=stride)
    assert tiles.images.shape[1:] == (size, size)
    assert list(tiles.ids) == sorted(tiles.ids)
    for name, picture in pictures.items():
        out, count = put_together(tiles, tiles.images, name, picture.shape)
        np.testing.assert_array_equal(out, picture)
        assert count.min() >= 1
        np.testing.assert_array_equal(put_together(tiles, tiles.require_masks(), name, picture.shape)[0], picture > 99)


def test_positions_are_every_stride_and_the_last_at_the_edge(tmp_path):
    write(tmp_path, {"a": np.zeros((10, 17), np.uint8)})
    corners = [(id_[3:9], id_[11:]) for id_ in read_folder(tmp_path, size=8, stride=4).ids]
    assert [(int(r), int(c)) for r, c in corners] == [(r, c) for r in (0, 2) for c in (0, 4, 8, 9)]
    assert len(read_folder(tmp_path, size=5).ids) == 2 * 4


def test_tiles_of_a_picture_are_kept_together_in_folds(tmp_path, pictures):
    tiles = read_folder(write(tmp_path, pictures), size=50)
    assert {picture_of(id_) for id_ in tiles.ids} == set(SIZES)
    folds = dict.fromkeys(zip(map(picture_of, tiles.ids), folds_by_id(tiles.ids, group=picture_of), strict=True))
    assert len(folds) == len(SIZES)


def test_other_files_are_left_out(tmp_path, pictures):
    write(tmp_path, pictures)
    (tmp_path / "Thumbs.db").write_text("x")
    (tmp_path / "._a_b.png").write_text("x")
    (tmp_path / "folder.png").mkdir()
    assert {picture_of(id_) for id_ in read_folder(tmp_path).ids} == set(SIZES)
    assert read_folder(tmp_path).masks is None


def test_pictures_of_other_samples_are_told_or_refused(tmp_path, pictures):
    floats = {name: (p / 255).astype(np.float32) for name, p in pictures.items()}
    write(tmp_path / "float", floats, "tif")
    with pytest.raises(ValueError, match=r"pass value_range=\(BLACK, WHITE\)"):
        read_folder(tmp_path / "float")
    write(tmp_path / "deep", {name: p.astype(np.uint16) * 257 for name, p in pictures.items()})
    expected = read_folder(write(tmp_path / "plain", pictures))
    for tiles in (read_folder(tmp_path / "float", value_range=(0, 1)), read_folder(tmp_path / "deep")):
        assert tiles.ids == expected.ids
        np.testing.assert_array_equal(tiles.images, expected.images)


def test_a_picture_without_a_mask_and_a_mask_without_a_picture_are_refused(tmp_path, pictures):
    images, masks = write(tmp_path / "images", pictures), {name: p > 99 for name, p in pictures.items()}
    del masks["deep"]
    with pytest.raises(
        ValueError, match=r"1 of 4 pictures in .*images have no mask in .*masks \(the first: deep\): add"
    ):
        read_folder(images, write(tmp_path / "masks", masks))
    write(tmp_path / "masks", {"deep": pictures["deep"] > 9, "more": pictures["deep"] > 9})
    with pytest.raises(ValueError, match=r"1 of 5 masks in .* have no picture in .* \(the first: more\): add"):
        read_folder(images, tmp_path / "masks")


def test_a_mask_of_another_size_is_refused(tmp_path, pictures):
    masks = {name: p > 99 for name, p in pictures.items()} | {"line9": pictures["line10"] > 99}
    with pytest.raises(ValueError, match=r"line9\.png must have the size of .*line9\.png, 101 x 250, got 130 x 101"):
        read_folder(write(tmp_path / "images", pictures), write(tmp_path / "masks", masks))


def test_masks_of_unclear_values_are_refused(tmp_path, pictures):
    images = write(tmp_path / "images", pictures)
    masks = {name: (p > 99) * np.uint8(255) for name, p in pictures.items()}
    with pytest.raises(ValueError, match=r"by one value, got 1 in .*line9\.png and 255 in .*a_b\.png"):
        read_folder(images, write(tmp_path / "masks", masks | {"line9": masks["line9"] // 255}))
    with pytest.raises(ValueError, match=r"line9\.png must hold 0 for background and one of 1, 255"):
        read_folder(images, write(tmp_path / "masks", masks | {"line9": masks["line9"] // 127}))


def test_two_pictures_of_one_name_are_refused(tmp_path, pictures):
    write(tmp_path, pictures)
    write(tmp_path, {"line9": pictures["line9"]}, "tif")
    with pytest.raises(ValueError, match=r"line9\.png and line9\.tif in .* have one name before the suffix, 'line9'"):
        read_folder(tmp_path)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no picture: give a folder of files \.bmp"):
        read_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError):
        read_folder(write(tmp_path, {"a": np.zeros((9, 9), np.uint8)}) / "a.png")


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        (
            {"size": 102},
            ValueError,
            r"size must be at most the height and width of every picture, got 102 and .*a_b\.png",
        ),
        ({"size": 0}, ValueError, "size must be at least 1, got 0"),
        ({"size": 50, "stride": 51}, ValueError, r"stride must be 1 to size \(50\), .* got 51"),
        ({"stride": 0}, ValueError, r"stride must be 1 to size \(101\), .* got 0"),
        ({"size": 50.0}, TypeError, r"size must be a whole number, got 50\.0"),
        ({"stride": True}, TypeError, "stride must be a whole number, got True"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(tmp_path, pictures, sizes, error, message):
    with pytest.raises(error, match=message):
        read_folder(write(tmp_path, pictures), **sizes)
