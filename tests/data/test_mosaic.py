"""Mosaics from pairs, their pictures, folds that keep them whole, and masks carried within them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltzoo.data import NeighbourPairs, Tiles, assemble, carry_masks, find_neighbours, grouped_folds, mosaic_picture


def pairs_of(ids, *lines):
    """Return pairs from lines (first, second, "right" or "below", confidence)."""
    names = list(ids)
    first, second = ([names.index(line[k]) for line in lines] for k in (0, 1))
    below = np.array([line[2] == "below" for line in lines], bool)
    confidence = np.array([line[3] for line in lines], np.float32)
    place = [np.array(x, np.int64) for x in (first, second)]
    return NeighbourPairs(tuple(names), *place, below, np.zeros(len(lines), np.float32), confidence)


def places(mosaics):
    """Return {id: (smallest id of its mosaic, row, column)}."""
    least = {}
    for id_, number in zip(mosaics.ids, mosaics.number.tolist(), strict=True):
        least[number] = min(least.get(number, id_), id_)
    rows = zip(mosaics.ids, mosaics.number.tolist(), mosaics.row.tolist(), mosaics.column.tolist(), strict=True)
    return {id_: (least[number], row, column) for id_, number, row, column in rows}


@st.composite
def graphs(draw):
    """Pairs of up to 12 tiles, right and wrong ones, with different confidences."""
    count = draw(st.integers(1, 12))
    ids = [f"t{k:02d}" for k in range(count)]
    line = st.tuples(st.sampled_from(ids), st.sampled_from(ids), st.sampled_from(["right", "below"]))
    lines = [line for line in draw(st.lists(line, max_size=25, unique=True)) if line[0] != line[1]]
    confidence = draw(st.permutations(range(len(lines))))
    return pairs_of(ids, *[(*line, 1 + value) for line, value in zip(lines, confidence, strict=True)])


def slow_assemble(pairs):
    """Move every tile of a mosaic one by one, in plain lists."""
    where = {id_: (id_, 0, 0) for id_ in pairs.ids}
    refused = set()
    for k in sorted(range(len(pairs)), key=lambda k: -pairs.confidence[k]):
        a, b = pairs.ids[pairs.first[k]], pairs.ids[pairs.second[k]]
        down, across = (1, 0) if pairs.below[k] else (0, 1)
        target = (where[a][0], where[a][1] + down, where[a][2] + across)
        if where[a][0] == where[b][0]:
            if where[b] != target:
                refused.add(k)
            continue
        shift = (target[1] - where[b][1], target[2] - where[b][2])
        moved = {
            id_: (where[a][0], place[1] + shift[0], place[2] + shift[1])
            for id_, place in where.items()
            if place[0] == where[b][0]
        }
        if set(moved.values()) & set(where.values()):
            refused.add(k)
        else:
            where |= moved
    groups = {}
    for id_, (name, *place) in where.items():
        groups.setdefault(name, {})[id_] = place
    result = {}
    for group in groups.values():
        top, left = np.min(list(group.values()), axis=0)
        result |= {id_: (min(group), place[0] - top, place[1] - left) for id_, place in group.items()}
    return result, refused


@given(graphs())
def test_positions_are_those_of_a_slow_loop(pairs):
    mosaics = assemble(pairs)
    expected, refused = slow_assemble(pairs)
    assert places(mosaics) == expected
    assert set(np.flatnonzero(mosaics.contradicted).tolist()) == refused
    assert len(set(places(mosaics).values())) == len(pairs.ids), "two tiles are in one place"
    np.testing.assert_array_equal(np.bincount(mosaics.number), mosaics.sizes)
    assert (np.diff(mosaics.sizes) <= 0).all()
    assert len(mosaics) == len(mosaics.sizes)


@given(graphs(), st.randoms(use_true_random=False))
def test_the_order_of_pairs_and_tiles_has_no_influence(pairs, random):
    """Confidences differ, so the order of the pairs is theirs."""
    lines = [
        (pairs.ids[a], pairs.ids[b], "below" if below else "right", value)
        for a, b, below, value in zip(pairs.first, pairs.second, pairs.below, pairs.confidence, strict=True)
    ]
    ids = random.sample(pairs.ids, len(pairs.ids))
    other = pairs_of(ids, *random.sample(lines, len(lines)))
    assert places(assemble(other)) == places(assemble(pairs))
    number = dict(zip(ids, assemble(other).number.tolist(), strict=True))
    assert [number[id_] for id_ in pairs.ids] == assemble(pairs).number.tolist()
    folds = dict(zip(ids, grouped_folds(other, n_folds=3).tolist(), strict=True))
    assert [folds[id_] for id_ in pairs.ids] == grouped_folds(pairs, n_folds=3).tolist()


def test_the_less_confident_of_two_contradicting_pairs_is_left_out():
    square = [("a", "b", "right", 9), ("a", "c", "below", 8), ("b", "d", "below", 7)]
    mosaics = assemble(pairs_of("abcd", *square, ("c", "d", "right", 6)))
    assert places(mosaics) == {"a": ("a", 0, 0), "b": ("a", 0, 1), "c": ("a", 1, 0), "d": ("a", 1, 1)}
    assert not mosaics.contradicted.any()
    mosaics = assemble(pairs_of("abcd", *square, ("d", "c", "right", 6), ("a", "d", "below", 5)))
    assert mosaics.contradicted.tolist() == [False, False, False, True, True]
    occupied = assemble(pairs_of("abc", ("a", "b", "right", 2), ("a", "c", "right", 3)))
    assert occupied.contradicted.tolist() == [True, False]
    assert places(occupied)["b"] == ("b", 0, 0)


def test_the_picture_of_a_mosaic_is_the_section():
    section = np.arange(6 * 8).reshape(6, 8)
    tiles = section.reshape(2, 3, 2, 4).transpose(0, 2, 1, 3).reshape(4, 3, 4)
    lines = [("a", "b", "right", 9), ("a", "c", "below", 8), ("c", "d", "right", 7)]
    mosaics = assemble(pairs_of("abcd", *lines))
    np.testing.assert_array_equal(mosaic_picture(mosaics, tiles), section)
    assert mosaic_picture(mosaics, tiles > 5).dtype == np.bool_
    hole = mosaic_picture(assemble(pairs_of("abcd", *lines[:2])), tiles, fill=-1)
    np.testing.assert_array_equal(hole[3:, 4:], np.full((3, 4), -1))
    np.testing.assert_array_equal(hole[:3], section[:3])
    np.testing.assert_array_equal(mosaic_picture(assemble(pairs_of("abcd", *lines[:2])), tiles, number=1), tiles[3])


def test_pictures_of_other_tiles_are_refused():
    mosaics = assemble(pairs_of("ab", ("a", "b", "right", 2)))
    with pytest.raises(ValueError, match=r"images must have shape \(N, H, W\) with one of each of 2 tiles, got \(3, "):
        mosaic_picture(mosaics, np.zeros((3, 2, 2)))
    for number in (-1, 1):
        with pytest.raises(ValueError, match=rf"number must be 0 to 0, got {number}"):
            mosaic_picture(mosaics, np.zeros((2, 2, 2)), number=number)


# Folds


@given(graphs(), st.integers(2, 5), st.integers(0, 3), st.data())
def test_no_pair_crosses_a_fold(pairs, n_folds, seed, data):
    chosen = data.draw(st.lists(st.sampled_from(pairs.ids), unique=True))
    for ids in (None, chosen):
        names = list(pairs.ids) if ids is None else ids
        folds = dict(zip(names, grouped_folds(pairs, ids, n_folds=n_folds, seed=seed).tolist(), strict=True))
        assert set(folds.values()) <= set(range(n_folds))
        # Grow groups from each tile along pairs, through tiles that are not split too.
        for name in names:
            group = {name}
            for _ in pairs.ids:
                for a, b in zip(pairs.first, pairs.second, strict=True):
                    if {pairs.ids[a], pairs.ids[b]} & group:
                        group |= {pairs.ids[a], pairs.ids[b]}
            assert {folds[other] for other in group if other in folds} == {folds[name]}


def test_folds_are_balanced():
    ids = [f"t{k:03d}" for k in range(100)]
    lines = [(ids[k], ids[k + 1], "right", 2) for k in range(40) if k % 5 != 4]  # eight mosaics of 5, 60 tiles alone
    pairs = pairs_of(ids, *lines)
    assert np.bincount(grouped_folds(pairs)).tolist() == [20] * 5
    assert np.bincount(grouped_folds(pairs, ids[1:])).tolist() == [20, 20, 20, 20, 19]
    assert grouped_folds(pairs).tolist() != grouped_folds(pairs, seed=1).tolist()
    assert grouped_folds(pairs, []).tolist() == []


def test_wrong_folds_are_refused():
    pairs = pairs_of("ab", ("a", "b", "right", 2))
    with pytest.raises(ValueError, match=r"1 of 2 ids were not searched for neighbours \(the first: 'x'\): call find"):
        grouped_folds(pairs, ["a", "x"])
    with pytest.raises(ValueError, match="n_folds must be at least 2, got 1"):
        grouped_folds(pairs, n_folds=1)
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        grouped_folds(pairs, seed=-1)


# Carried masks

COLUMN = pairs_of("abcd", ("a", "b", "below", 4), ("b", "c", "below", 3), ("c", "d", "below", 2))
STRIPES = np.array([[[False, True, True], [False, True, True]]])


def test_vertical_stripes_continue_below():
    masks = np.concatenate([STRIPES, np.zeros((3, 2, 3), bool)])
    known = np.array([True, False, False, False])
    for reach in (1, 2, 9):
        result, carried = carry_masks(assemble(COLUMN), masks, known, reach=reach)
        assert carried.tolist() == [False] + [k < reach for k in range(3)]
        np.testing.assert_array_equal(result, masks | (carried[:, None, None] & STRIPES))
    assert not masks[1:].any(), "the argument is unchanged"


@pytest.mark.parametrize("turn", [False, True])
def test_each_side(turn):
    """Transposed tiles and mosaics: below becomes right, above becomes left."""
    lines = [(a, b, "right" if turn else "below", k) for k, (a, b) in enumerate(["ab", "bc"], 1)]
    stripes = STRIPES.transpose(0, 2, 1) if turn else STRIPES
    masks = np.zeros((3, *stripes.shape[1:]), bool)
    masks[1] = stripes[0]
    known = np.array([False, True, False])
    names = ("right", "left") if turn else ("below", "above")
    for name, expected in zip(names, (2, 0), strict=True):
        result, carried = carry_masks(assemble(pairs_of("abc", *lines)), masks, known, sides=[name])
        assert np.flatnonzero(carried).tolist() == [expected]
        np.testing.assert_array_equal(result[expected], stripes[0])
    for name in {"below", "above", "right", "left"} - set(names):
        assert not carry_masks(assemble(pairs_of("abc", *lines)), masks, known, sides=[name])[1].any()


def test_the_first_side_wins_and_known_tiles_keep_their_masks():
    masks = np.concatenate([STRIPES, np.zeros((1, 2, 3), bool), ~STRIPES, ~STRIPES])
    known = np.array([True, False, True, True])
    for sides, expected in ((("below", "above"), STRIPES[0]), (("above", "below"), ~STRIPES[0])):
        result, carried = carry_masks(assemble(COLUMN), masks, known, sides=sides, reach=3)
        assert carried.tolist() == [False, True, False, False]
        np.testing.assert_array_equal(result[1], expected)
        np.testing.assert_array_equal(result[[0, 2, 3]], masks[[0, 2, 3]])


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 3), bool), np.ones((2, 3), bool), np.array([[False, True, True], [False, False, True]])]
)
def test_other_masks_are_not_carried(mask):
    masks = np.concatenate([mask[None], STRIPES, STRIPES, STRIPES])
    known = np.array([True, False, False, False])
    sides = ("below", "above", "right", "left")
    result, carried = carry_masks(assemble(COLUMN), masks, known, sides=sides)
    assert not carried.any(), "predictions are not carried either"
    np.testing.assert_array_equal(result, masks)


def test_wrong_masks_are_refused():
    mosaics, known, masks = assemble(COLUMN), np.zeros(4, bool), np.zeros((4, 2, 3), bool)
    with pytest.raises(TypeError, match="masks must be bool, got float64"):
        carry_masks(mosaics, masks * 0.5, known)
    with pytest.raises(ValueError, match=r"masks must have shape \(4, H, W\), got \(3, 2, 3\)"):
        carry_masks(mosaics, masks[:3], known)
    with pytest.raises(ValueError, match=r"known must have shape \(4,\), got \(3,\)"):
        carry_masks(mosaics, masks, known[:3])
    with pytest.raises(ValueError, match="unknown side 'down': choose one of 'below'"):
        carry_masks(mosaics, masks, known, sides=["down"])
    with pytest.raises(ValueError, match="reach must be at least 1, got 0"):
        carry_masks(mosaics, masks, known, reach=0)


def test_a_picture_of_no_mosaic_is_refused():
    images = np.zeros((0, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="and there is none, got 0"):
        mosaic_picture(assemble(find_neighbours(Tiles((), images))), images)
    one = np.zeros((1, 4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"number must be 0 to 0, got 0\.5"):
        mosaic_picture(assemble(find_neighbours(Tiles(("a",), one))), one, number=0.5)
