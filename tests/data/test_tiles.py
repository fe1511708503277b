"""Tiles: ids are unique, arrays are what they are documented to be, and no tile is a possible number of tiles."""

import numpy as np
import pytest

from saltzoo.data import Tiles

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


def tiles(**changes):
    fields = {"ids": ("a", "b", "c"), "images": IMAGES, "masks": IMAGES > 9, "depths": np.array([1, 2, np.nan], "f4")}
    return Tiles(**fields | changes)


def test_an_id_that_occurs_twice_is_refused():
    with pytest.raises(ValueError, match=r"ids must be unique, .*, got 'a' twice: rename"):
        tiles(ids=("b", "a", "a"))
    with pytest.raises(ValueError, match=r"got 'b' twice: .*select each position once"):
        tiles().select([1, 1])


@pytest.mark.parametrize("ids", ["abc", (1, 2, 3), ("a", "b", None), np.array([1, 2, 3]), None])
def test_ids_of_another_type_are_refused(ids):
    with pytest.raises(TypeError, match="ids must be a tuple of strings"):
        tiles(ids=ids)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": IMAGES / 255}, ValueError, "images must be N H W uint8, .* float64"),
        ({"images": IMAGES[0]}, ValueError, r"images must be N H W uint8, .* \(4, 5\)"),
        ({"images": IMAGES[:, :0]}, ValueError, "H and W above 0"),
        ({"images": IMAGES[:2]}, ValueError, "3 ids and 2 images"),
        ({"images": IMAGES.tolist()}, TypeError, "images must be a numpy array, got a list"),
        ({"images": None}, TypeError, "images must be a numpy array"),
        ({"masks": (IMAGES > 9) * np.int64(255)}, ValueError, "masks must be bool"),
        ({"masks": IMAGES[:2] > 9}, ValueError, "masks must be bool of the images' shape"),
        ({"depths": np.zeros((3, 1), "f4")}, ValueError, r"depths must have shape \(3,\)"),
        ({"depths": np.array([1, 2, np.inf], "f4")}, ValueError, "at most 1e[+]08, got inf for tile 'c': give NaN"),
        ({"depths": np.array([1, -1e300, np.nan])}, ValueError, "at most 1e[+]08, got -1e[+]300 for tile 'b'"),
        ({"depths": np.array([1, 2, 3])}, ValueError, "depths must be floating point"),
        ({"depths": [1.0, 2.0, 3.0]}, TypeError, "depths must be a numpy array"),
    ],
)
def test_other_fields_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        tiles(**changes)


@pytest.mark.parametrize("index", [[], (), [False] * 3, np.array([], np.int64)])
def test_no_tile_can_be_selected(index):
    none = tiles().select(index)
    assert none.ids == ()
    assert none.images.shape == none.require_masks().shape == (0, 4, 5)
    assert none.depths.shape == (0,)
    assert none.coverage.shape == (0,)
    assert none.select([]).ids == ()


def test_a_selection_has_the_given_order():
    chosen = tiles().select([2, 0])
    assert chosen.ids == ("c", "a")
    np.testing.assert_array_equal(chosen.images, IMAGES[[2, 0]])
    np.testing.assert_array_equal(chosen.masks, IMAGES[[2, 0]] > 9)
    np.testing.assert_array_equal(chosen.depths, np.array([np.nan, 1], "f4"))
    assert tiles().select([True, False, True]).ids == ("a", "c")


@pytest.mark.parametrize("index", [[3], [True, False], [0.5]])
def test_positions_that_do_not_exist_are_refused(index):
    with pytest.raises(IndexError):
        tiles().select(index)
