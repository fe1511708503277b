"""Pictures: the colours of single pixels, and files that are whole."""

import numpy as np
import pytest
from PIL import Image

from saltzoo.draw import SALT, TRUTH, contact_sheet, overlay, overlay_labels, save_png

GRAY = np.full((4, 5), 100, np.uint8)


def test_no_salt_leaves_the_tile_gray():
    image = np.arange(20, dtype=np.uint8).reshape(4, 5) * 12
    picture = overlay(image, np.zeros((4, 5), bool))
    assert (picture.shape, picture.dtype) == ((4, 5, 3), np.uint8)
    assert (picture == image[..., None]).all()


def test_salt_is_blended_by_its_probability():
    mask = np.zeros((4, 5), np.float32)
    mask[0, 0], mask[1, 1] = 1, 0.5
    picture = overlay(GRAY, mask, opacity=0.4)
    assert picture[0, 0].tolist() == [round(100 * 0.6 + c * 0.4) for c in SALT]
    assert picture[1, 1].tolist() == [round(100 * 0.8 + c * 0.2) for c in SALT]
    assert picture[2, 2].tolist() == [100] * 3
    assert (overlay(GRAY, mask > 0, opacity=1.0)[0, 0] == SALT).all()
    assert (GRAY == 100).all()


def test_truth_is_outlined_inside_and_not_at_the_border():
    truth = np.zeros((6, 7), bool)
    truth[1:5, 2:7] = True  # touches the right border
    picture = overlay(np.full((6, 7), 9, np.uint8), np.zeros((6, 7), bool), truth=truth)
    outline = (picture == TRUTH).all(-1)
    want = truth.copy()
    want[2:4, 3:7] = False
    assert (outline == want).all()
    assert (picture[~outline] == 9).all()
    everything = overlay(GRAY, np.zeros((4, 5), bool), truth=np.ones((4, 5), np.uint8))
    assert (everything == 100).all()


@pytest.mark.parametrize("mask", [np.zeros((5, 4)), np.zeros((1, 4, 5)), np.zeros(5)])
def test_refuses_other_shapes(mask):
    with pytest.raises(ValueError, match="one shape H W, got"):
        overlay(GRAY, mask)
    with pytest.raises(ValueError, match="one shape H W, got"):
        overlay(GRAY, np.zeros((4, 5)), truth=mask)
    with pytest.raises(ValueError, match="one shape H W, got"):
        overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5)))


@pytest.mark.parametrize(
    ("image", "mask"),
    [(GRAY, np.full((4, 5), 255, np.uint8)), (GRAY, np.full((4, 5), np.nan)), (GRAY / 255, np.zeros((4, 5)))],
)
def test_refuses_other_ranges(image, mask):
    with pytest.raises(ValueError, match=r"mask must be in 0\.\.1|image must be uint8"):
        overlay(image, mask)


def test_a_sheet_has_every_picture_in_its_place():
    pictures = [np.full((2, 3, 3), 10 * (i + 1), np.uint8) for i in range(5)]
    sheet = contact_sheet(pictures, columns=3, scale=2, gap=1)
    assert (sheet.shape, sheet.dtype) == ((2 * 5 + 1, 3 * 7 + 1, 3), np.uint8)
    for i, (row, column) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
        top, left = 1 + row * 5, 1 + column * 7
        assert (sheet[top : top + 4, left : left + 6] == 10 * (i + 1)).all()
        sheet[top : top + 4, left : left + 6] = 255
    assert (sheet == 255).all()
    assert contact_sheet(pictures[:2], columns=9, scale=1, gap=0).shape == (2, 6, 3)
    ramp = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert contact_sheet([ramp], columns=1, scale=2, gap=0).tolist() == [[[0, 1, 2]] * 2 + [[3, 4, 5]] * 2] * 2


def test_a_sheet_refuses_none_or_mixed():
    with pytest.raises(ValueError, match="one or more of one size, H W 3 uint8, got"):
        contact_sheet([], columns=2)
    with pytest.raises(ValueError, match="one or more of one size, H W 3 uint8, got"):
        contact_sheet([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)], columns=2)
    for pictures in ([np.zeros((2, 2), np.uint8)], [np.zeros((2, 2, 3))], [np.zeros((2, 2, 4), np.uint8)]):
        with pytest.raises(ValueError, match="H W 3 uint8, got"):
            contact_sheet(pictures, columns=2)
    for wrong in ("columns", "scale"):
        with pytest.raises(ValueError, match=f"{wrong} must be at least 1"):
            contact_sheet([np.zeros((2, 2, 3), np.uint8)], **{"columns": 1, wrong: 0})
    with pytest.raises(ValueError, match="gap must be 0 or more pixels, got -1"):
        contact_sheet([np.zeros((2, 2, 3), np.uint8)], columns=1, gap=-1)


@pytest.mark.parametrize("opacity", [-0.1, 40, float("nan")])
def test_refuses_another_opacity(opacity):
    with pytest.raises(ValueError, match=r"opacity must be in 0\.\.1, got"):
        overlay(GRAY, np.zeros((4, 5)), opacity=opacity)


def test_pictures_without_pixels_have_empty_overlays():
    assert overlay(np.zeros((0, 5), np.uint8), np.zeros((0, 5), bool), truth=np.zeros((0, 5), bool)).shape == (0, 5, 3)
    with pytest.raises(ValueError, match="image must be uint8, got float64"):
        overlay(np.zeros((0, 5)), np.zeros((0, 5)))


def test_a_file_that_is_there_is_replaced_only_if_allowed(tmp_path):
    path = save_png(GRAY, tmp_path / "a.png")
    with pytest.raises(FileExistsError, match=r"a\.png is there already"):
        save_png(GRAY // 2, path)
    assert (np.asarray(Image.open(path)) == GRAY).all()
    save_png(GRAY // 2, path, overwrite=True)
    assert (np.asarray(Image.open(path)) == GRAY // 2).all()
    save_png(GRAY, tmp_path / "b.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_a_png_comes_back_as_it_was(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = save_png(picture, tmp_path / "new" / "deeper" / "picture.png")
    assert (np.asarray(Image.open(path)) == picture).all()
    assert [p.name for p in path.parent.iterdir()] == ["picture.png"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = save_png(GRAY, str(tmp_path / "picture.png"))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_png(np.zeros((2, 2, 7), np.uint8), path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]


def test_labels_have_a_colour_each_and_background_none():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    opaque = overlay_labels(image, labels, opacity=1.0).reshape(-1, 3)
    assert opaque[0].tolist() == [0, 0, 0]  # the image
    assert tuple(opaque[1]) == SALT
    assert len(np.unique(opaque[1:], axis=0)) == 255
    np.testing.assert_array_equal(overlay_labels(image, labels * 0), np.repeat(image[..., None], 3, 2))
    salt = labels % 2
    np.testing.assert_array_equal(overlay_labels(image, salt), overlay(image, salt > 0))
    unknown = overlay_labels(image, labels, ignore_index=255, opacity=0.5).reshape(-1, 3)
    assert unknown[255].tolist() == [255, 255, 255]
    blended = (image.reshape(-1, 1) * 0.5 + opaque * 0.5)[1:255]
    np.testing.assert_allclose(unknown[1:255], blended, atol=0.5)


@pytest.mark.parametrize(
    ("image", "labels", "words"),
    [
        (np.zeros((4, 4)), np.zeros((4, 4), np.uint8), "image must be H W uint8"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.int64), "labels must be H W uint8, .* int64"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), r"labels must .*\(4, 5\)"),
    ],
)
def test_labels_that_cannot_be_drawn_are_refused(image, labels, words):
    with pytest.raises(ValueError, match=words):
        overlay_labels(image, labels)
    with pytest.raises(ValueError, match=r"opacity must be in 0\.\.1"):
        overlay_labels(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), opacity=2)
