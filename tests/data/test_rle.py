"""Run-length encoding: compared with a loop over pixels, and with the competition's own table."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saltzoo.data import read_tgs, rle_decode, rle_encode
from saltzoo.data import rle as module

REAL = Path(__file__).parents[3] / "shared" / "data" / "tgs"
batches = st.tuples(st.integers(0, 5), st.integers(1, 7), st.integers(1, 7)).flatmap(
    lambda shape: arrays(np.bool_, shape, elements=st.booleans())
)


def loop(mask):
    """Encode a mask pixel by pixel."""
    runs, number, before = [], 0, False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            number += 1
            if mask[row, column] and not before:
                runs.append([number, 0])
            if mask[row, column]:
                runs[-1][1] += 1
            before = mask[row, column]
    return " ".join(f"{first} {length}" for first, length in runs)


@given(batches)
def test_texts_are_those_of_a_loop_over_pixels(masks):
    texts = rle_encode(masks)
    assert texts == [loop(mask) for mask in masks]
    assert [rle_encode(mask) for mask in masks] == texts


@given(batches)
def test_masks_come_back(masks):
    decoded = rle_decode(rle_encode(masks), masks.shape[1:])
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, masks)
    for mask in masks:
        np.testing.assert_array_equal(rle_decode(rle_encode(mask), mask.shape), mask)


@given(batches, st.integers(1, 60))
def test_parts_of_a_batch_join(masks, pixels):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK_PIXELS", pixels)
        texts = rle_encode(masks)
        np.testing.assert_array_equal(rle_decode(texts, masks.shape[1:]), masks)
    assert texts == [loop(mask) for mask in masks]


def test_the_whole_mask_is_one_run():
    assert rle_encode(np.ones((101, 101), bool)) == "1 10201"
    assert rle_decode("1 10201").all()
    assert rle_encode(np.ones((2, 1, 3), bool)) == ["1 3", "1 3"]


def test_a_mask_of_another_memory_layout_gives_the_same_text():
    mask = np.random.default_rng(0).random((6, 8)) < 0.5
    assert rle_encode(mask[::-1, ::2]) == loop(mask[::-1, ::2])
    assert rle_encode(np.asfortranarray(mask)) == loop(mask)


@pytest.mark.parametrize("text", [" \n", "  1   2 ", "1 1 2 1", "1\t2"])
def test_white_space_and_runs_that_touch_are_read(text):
    assert rle_decode(text, (3, 3)).sum() == (2 if text.strip() else 0)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1 2 5", "pairs of a first pixel and a length, got 3 numbers"),
        ("0 2", "pixels 1 to 9, .* got '0 2': .*counted from 1"),
        ("3 0", "got '3 0'"),
        ("10 1", "got '10 1'"),
        ("9 2", "got '9 2'"),
        ("1 3 3 1", "apart, got pixel 3 after a run to pixel 3: sort or merge"),
        ("5 1 1 1", "ascending order and apart, got pixel 1 after a run to pixel 5"),
        ("1 -2", "whole numbers, separated by spaces, got '-2'"),
        ("1 2.0", "got '2.0'"),
        ("nan nan", "got 'nan'"),
        ("1,2 3", "got '1,2'"),
        ("1_0 1", "got '1_0'"),
        ("\u0661 1", "got .\u0661"),
        ("1 99999999999999999999", "whole numbers"),
        ("999999999999999999 999999999999999999", "pixels 1 to 9"),
    ],
)
def test_malformed_runs_are_refused(text, error):
    with pytest.raises(ValueError, match=f"^runs must .*{error}"):
        rle_decode(text, (3, 3))
    with pytest.raises(ValueError, match=f"^runs at position 2 must .*{error}"):
        rle_decode(["1 1", "", text, "4 2"], (3, 3))


def test_runs_of_two_masks_are_not_compared():
    assert rle_decode(["9 1", "1 1"], (3, 3)).sum() == 2


@given(st.lists(st.integers(-1, 12), max_size=8))
def test_runs_are_accepted_exactly_if_they_mark_ascending_pixels(numbers):
    """Independent rule: the marked pixels, written out one by one, ascend within the mask."""
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
    pixels = [first + k for first, length in pairs for k in range(length)]
    good = len(numbers) % 2 == 0 and all(length > 0 for _, length in pairs)
    good = good and all(1 <= p <= 9 for p in pixels) and pixels == sorted(set(pixels))
    text = " ".join(map(str, numbers))
    if good:
        assert (np.flatnonzero(rle_decode(text, (3, 3)).T) + 1).tolist() == pixels
    else:
        with pytest.raises(ValueError, match="runs must"):
            rle_decode(text, (3, 3))


def test_other_types_and_shapes_are_refused():
    with pytest.raises(TypeError, match=r"masks must be bool, got uint8: compare with a threshold"):
        rle_encode(np.zeros((3, 3), np.uint8))
    for shape in ((3,), (1, 1, 3, 3), (0, 3), (2, 3, 0)):
        with pytest.raises(ValueError, match=r"masks must have shape \(H, W\) or \(N, H, W\)"):
            rle_encode(np.zeros(shape, bool))
    with pytest.raises(TypeError, match=r"got a float at position 1: give '' for a mask without salt"):
        rle_decode(["", float("nan")])
    with pytest.raises(ValueError, match=r"shape must be \(height, width\)"):
        rle_decode("", (0, 3))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the competition's data is not at {REAL}")
def test_the_table_of_the_competition_comes_back_byte_by_byte():
    tiles = read_tgs(REAL)
    with (REAL / "train.csv").open(newline="") as file:
        text_of = {row["id"]: row["rle_mask"] for row in csv.DictReader(file)}
    texts = [text_of[id_] for id_ in tiles.ids]
    assert rle_encode(tiles.require_masks()) == texts
    np.testing.assert_array_equal(rle_decode(texts), tiles.require_masks())


def test_no_masks_give_no_texts():
    assert rle_encode([]) == []
    assert rle_decode([]).shape == (0, 101, 101)


@pytest.mark.parametrize("shape", [5, (5,), (5, 5, 1), (2.0, 2), (0, 5), "ab"])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match="shape must be"):
        rle_decode("1 1", shape)
