"""Bodies found slab by slab equal scipy's labels of the whole volume."""

import csv
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.data import make_survey
from saltzoo.seismic import Bodies, Body, write_bodies_csv

ndimage = pytest.importorskip("scipy.ndimage")


def whole(mask, connectivity):
    return ndimage.label(mask, ndimage.generate_binary_structure(3, {6: 1, 26: 3}[connectivity]))


def boxes(labels):
    return [tuple((axis.start, axis.stop - 1) for axis in place) for place in ndimage.find_objects(labels)]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(2, 6)),
    density=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]),
    slab=st.integers(1, 5),
    connectivity=st.sampled_from([6, 26]),
)
def test_labels_are_those_of_the_whole_volume(seed, shape, density, slab, connectivity):
    mask = np.random.default_rng(seed).random(shape) < density
    labels, count = whole(mask, connectivity)
    bodies = Bodies(mask, slab=slab, connectivity=connectivity)
    assert [body.id for body in bodies.found] == list(range(1, count + 1))
    assert [body.voxels for body in bodies.found] == np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist()
    assert [body.box for body in bodies.found] == boxes(labels)
    written = np.full(shape, -1, np.int32)
    bodies.write_bodies(written)
    np.testing.assert_array_equal(written, labels)


@pytest.mark.parametrize("slab", [1, 3, 50])
def test_a_spiral_through_many_slabs_is_one_body(slab):
    """Its arms are apart in each slab, and join only far away."""
    mask = np.zeros((21, 11, 11), bool)
    mask[:, 0, 0] = mask[:, 5, 5] = mask[:, 10, 10] = True
    mask[-1, 0:6, 0] = mask[-1, 5, 0:6] = True
    mask[0, 5:11, 5] = mask[0, 10, 5:11] = True
    (body,) = Bodies(mask, slab=slab).found
    assert body.voxels == mask.sum()
    assert body.extent == (21, 11, 11)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32])
def test_small_bodies_are_left_out(dtype):
    _, mask = make_survey((12, 20, 40), seed=1)
    mask = mask | (np.random.default_rng(0).random(mask.shape) < 0.01)
    labels, count = whole(mask, 6)
    assert 20 < count < 256
    sizes = np.bincount(labels.ravel())
    bodies = Bodies(mask.astype(np.float32), slab=5)
    written = np.zeros(mask.shape, dtype)
    bodies.write_bodies(written, min_voxels=3)
    kept = np.where(sizes[labels] >= 3, labels, 0)
    np.testing.assert_array_equal(written, kept > 0 if dtype is bool else kept)
    assert 0 < (kept > 0).sum() < mask.sum()


def test_ids_that_do_not_fit_are_refused():
    mask = np.zeros((1, 40, 40), bool)
    mask[0, ::2, ::2] = True
    bodies = Bodies(mask)
    for dtype in (np.uint8, np.float32):
        with pytest.raises(ValueError, match=f"integers up to 400.*got {np.dtype(dtype)}: use int32"):
            bodies.write_bodies(np.zeros(mask.shape, dtype))
    with pytest.raises(ValueError, match=r"target must have the volume's shape \(1, 40, 40\), got \(1, 40, 41\)"):
        bodies.write_bodies(np.zeros((1, 40, 41), np.int32))


def test_nan_is_no_salt_and_the_threshold_counts():
    volume = np.array([[[0.2, 0.6, np.nan, 0.9]]], np.float32)
    assert [body.voxels for body in Bodies(volume).found] == [1, 1]
    assert [body.voxels for body in Bodies(volume, threshold=0.1).found] == [2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1}, "threshold must be at least 0 and below 1, got 1"),
        ({"connectivity": 18}, "unknown connectivity 18: choose one of 6, 26"),
        ({"slab": 0}, "slab must be at least 1, got 0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Bodies(np.zeros((2, 2, 2), bool), **options)


def test_a_table_holds_the_largest_first(tmp_path):
    found = (
        Body(1, 4, ((0, 1), (2, 3), (4, 4))),
        Body(2, 9, ((0, 2), (0, 2), (5, 5))),
        Body(3, 1, ((0, 0), (0, 0), (0, 0))),
    )
    path = write_bodies_csv(tmp_path / "bodies.csv", found, min_voxels=2)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["voxels"]) for row in rows] == [("2", "9"), ("1", "4")]
    assert [int(rows[1][key]) for key in ("inline_last", "crossline_first", "sample_last")] == [1, 2, 4]


def test_without_scipy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r'pip install "saltzoo\[clean\]"'):
        Bodies(np.zeros((2, 2, 2), bool))
