"""The search for neighbours: compared with a loop over all pairs of tiles, and on sections whose tiles are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.data import Tiles, find_neighbours, synthetic_tile
from saltzoo.data import neighbours as module

METHODS = ("ratio", "distance", "mutual")


def as_tiles(images, prefix="t"):
    return Tiles(tuple(f"{prefix}{k:04d}" for k in range(len(images))), np.ascontiguousarray(images))


def cut(section, size):
    """Return the tiles of a section, row by row."""
    rows, columns = section.shape[0] // size, section.shape[1] // size
    parts = section[: rows * size, : columns * size].reshape(rows, size, columns, size)
    return parts.transpose(0, 2, 1, 3).reshape(-1, size, size)


def sections(*seeds, size=33, per_side=3):
    return np.concatenate([cut(synthetic_tile(seed, size=size * per_side)[0], size) for seed in seeds])


def true_pairs(count, per_side=3):
    """Return the pairs (first, second, below) of sections of 3 x 3 tiles."""
    found = set()
    for tile in range(count):
        row, column = divmod(tile % per_side**2, per_side)
        if column + 1 < per_side:
            found.add((tile, tile + 1, False))
        if row + 1 < per_side:
            found.add((tile, tile + per_side, True))
    return found


def as_set(pairs, ids=False):
    first, second = ([pairs.ids[k] for k in x] if ids else x.tolist() for x in (pairs.first, pairs.second))
    return set(zip(first, second, pairs.below.tolist(), strict=True))


def zscore(edge):
    return (edge - edge.mean()) / edge.std()


def distance(a, b, below):
    """Root mean square of two differences: each tile's prediction of its neighbour's edge, and that edge."""
    a, b = (x.astype(np.float64) if below else x.astype(np.float64).T for x in (a, b))
    if np.ptp(a[-1]) == 0 or np.ptp(b[0]) == 0:
        return np.inf
    guesses, edges = (2 * a[-1] - a[-2], 2 * b[0] - b[1]), (b[0], a[-1])
    gaps = [zscore(guess) - zscore(edge) for guess, edge in zip(guesses, edges, strict=True)]
    return float(np.sqrt(np.mean(np.square(gaps))))


def brute_force(images, method, limit):
    """Return {(first, second, below): (distance, confidence)} by a loop over all pairs."""
    found = {}
    for below in (False, True):
        table = np.array([[distance(a, b, below) for b in images] for a in images])
        np.fill_diagonal(table, np.inf)
        seen = {}
        for lines, swap in ((table, False), (table.T, True)):
            for tile, line in enumerate(lines):
                best, second = np.sort(line)[:2]
                if np.isinf(best) or np.isinf(second):
                    continue
                pair = (int(line.argmin()), tile) if swap else (tile, int(line.argmin()))
                if best <= limit if method == "distance" else second / best >= limit:
                    seen.setdefault(pair, []).append((best, second / best))
        for pair, both in seen.items():
            if method != "mutual":
                found[(*pair, below)] = (both[0][0], max(ratio for _, ratio in both))
            elif len(both) == 2:
                found[(*pair, below)] = (both[0][0], min(ratio for _, ratio in both))
    return found


@pytest.mark.parametrize(("method", "limit"), [("ratio", 1.2), ("distance", 0.7), ("mutual", 1.05), ("mutual", 1.0)])
@pytest.mark.parametrize("chunk", [5, 512])
def test_pairs_are_those_of_a_loop(monkeypatch, method, limit, chunk):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    images = np.concatenate([sections(0, 1), np.random.default_rng(0).integers(0, 256, (9, 33, 33), np.uint8)])
    pairs = find_neighbours(as_tiles(images), method=method, limit=limit)
    expected = brute_force(images, method, limit)
    assert len(expected) > 8
    assert as_set(pairs) == set(expected)
    for k, pair in enumerate(zip(pairs.first, pairs.second, pairs.below, strict=True)):
        assert (pairs.distance[k], pairs.confidence[k]) == pytest.approx(expected[tuple(map(int, pair))], rel=1e-3)
    assert (np.diff(pairs.confidence) <= 0).all()


def test_the_nearest_two_are_those_of_sorted_rows_and_columns(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 7)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in np.random.default_rng(1).normal(size=(2, 40, 6)))
    a[3], b[5] = 0, 0
    found = module.nearest_two(a.astype(np.float32), b.astype(np.float32))
    table = np.sqrt(np.maximum(2 - 2 * a @ b.T, 0))
    table[3], table[:, 5], table[np.arange(40), np.arange(40)] = np.inf, np.inf, np.inf
    for nearest, lines, void in zip(found, (table, table.T), (3, 5), strict=True):
        rows = np.arange(40) != void
        order = lines.argsort(axis=1)[rows]
        np.testing.assert_array_equal(nearest.index[rows], order[:, 0])
        best, second = (np.take_along_axis(lines[rows], order[:, k, None], axis=1)[:, 0] for k in (0, 1))
        np.testing.assert_allclose(nearest.distance[rows], best, rtol=1e-4)
        np.testing.assert_allclose(nearest.ratio[rows], second / best, rtol=1e-4)
        assert nearest.ratio[void] == 0


def test_most_neighbours_in_sections_are_found():
    """25 sections of 3 x 3 tiles, each tile with its own contrast: 300 true pairs."""
    images = sections(*range(25)).astype(float)
    rng = np.random.default_rng(0)
    images = images * rng.uniform(0.5, 0.8, (len(images), 1, 1)) + rng.uniform(0, 50, (len(images), 1, 1))
    pairs = as_set(find_neighbours(as_tiles(images.astype(np.uint8))))
    true = true_pairs(len(images))
    assert len(true) == 300
    assert len(pairs & true) >= 0.98 * len(pairs)
    assert len(pairs & true) >= 0.6 * len(true)


def test_tiles_whose_neighbour_is_missing_stay_alone():
    """Held-back test: with every second tile removed as on a chessboard, any pair is a mistake."""
    images = sections(*range(25))
    board = np.arange(len(images)) % 9 % 2 == 0
    found = len(find_neighbours(as_tiles(images)))
    assert len(find_neighbours(as_tiles(images[board]))) <= 0.1 * found


@given(st.randoms(use_true_random=False), st.sampled_from(METHODS))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_tiles_has_no_influence(random, method):
    tiles = as_tiles(sections(0, 1, 2))
    order = random.sample(range(len(tiles)), len(tiles))
    pairs, shuffled = (find_neighbours(x, method=method) for x in (tiles, tiles.select(order)))
    assert as_set(pairs, ids=True) == as_set(shuffled, ids=True)
    assert len(pairs) > 3


@pytest.mark.parametrize("method", METHODS)
def test_turning_the_section_turns_the_pairs(method):
    images = sections(0, 1, 2)
    upright = as_set(find_neighbours(as_tiles(images), method=method))
    turned = as_set(find_neighbours(as_tiles(images.transpose(0, 2, 1)), method=method))
    assert turned == {(a, b, not below) for a, b, below in upright}
    mirrored = as_set(find_neighbours(as_tiles(images[:, ::-1, ::-1]), method=method))
    assert mirrored == {(b, a, below) for a, b, below in upright}


@pytest.mark.parametrize("method", METHODS)
def test_tiles_of_one_gray_level_match_nothing(method):
    images = sections(0, 1)
    flat = np.stack([np.full((33, 33), level, np.uint8) for level in (0, 0, 128, 255)])
    both = find_neighbours(as_tiles(np.concatenate([images, flat])), method=method)
    assert as_set(both) == as_set(find_neighbours(as_tiles(images), method=method))
    assert len(find_neighbours(as_tiles(flat), method=method, limit=1)) == 0


def test_a_dark_border_matches_nothing_and_the_other_sides_do():
    """Water above the sea floor: the upper edge is black, the lower one has a neighbour."""
    section = synthetic_tile(0, size=101)[0]
    tiles = np.concatenate([cut(section, 50), cut(synthetic_tile(1, size=101)[0], 50)])
    tiles[0, :3] = 0
    pairs = as_set(find_neighbours(as_tiles(tiles), method="distance", limit=2))
    assert (0, 2, True) in pairs
    assert not any(second == 0 and below for _, second, below in pairs)


@pytest.mark.parametrize("method", METHODS)
def test_a_tile_that_occurs_twice_is_no_certain_neighbour(method):
    left, right, below, other = sections(0, per_side=2)
    once = find_neighbours(as_tiles(np.stack([left, right, below, other])), method=method, limit=1)
    twice = find_neighbours(as_tiles(np.stack([left, right, right, below, other])), method=method, limit=1)
    assert (0, 1, False) in as_set(once)
    found = as_set(twice)
    assert method != "mutual" or not found & {(0, 1, False), (0, 2, False)}
    # Seen from the left tile both are equal; each of the two sees one left tile.
    assert ((0, 1, False) in found) == ((0, 2, False) in found)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_tiles(count):
    assert len(find_neighbours(as_tiles(sections(0)[:count]))) <= 1


def test_pairs_are_selected():
    pairs = find_neighbours(as_tiles(sections(0, 1, 2)))
    chosen = pairs.select(pairs.below)
    assert 0 < len(chosen) < len(pairs)
    assert chosen.below.all()
    assert as_set(chosen) == {pair for pair in as_set(pairs) if pair[2]}
    assert chosen.ids == pairs.ids


def test_wrong_options_are_refused():
    tiles = as_tiles(sections(0))
    with pytest.raises(ValueError, match=r"unknown method 'nearest': choose one of 'ratio', 'distance', 'mutual'"):
        find_neighbours(tiles, method="nearest")
    for method, limit, least in (("ratio", 0.9, "1 or more"), ("distance", 0, "above 0"), ("mutual", np.nan, "1 or")):
        with pytest.raises(ValueError, match=rf"limit must be {least}.* for the method '{method}', got {limit}"):
            find_neighbours(tiles, method=method, limit=limit)
    with pytest.raises(ValueError, match=r"tiles must be at least 2 x 2 pixels, got \(1, 9\)"):
        find_neighbours(as_tiles(np.zeros((2, 1, 9), np.uint8)))


@pytest.mark.parametrize("method", ["mutual", "ratio"])
def test_two_tiles_that_have_nothing_in_common_are_no_neighbours(method):
    """The only candidate has no rival, and is not a neighbour for that."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        images = rng.integers(0, 256, (2, 40, 40), dtype=np.uint8)
        assert len(find_neighbours(Tiles(("a", "b"), images), method=method)) == 0
    section = synthetic_tile(0, size=150)[0]
    halves = Tiles(("left", "right"), np.stack([section[:, :75], section[:, 75:]]))
    pairs = find_neighbours(halves, method=method)
    assert [(pairs.ids[a], pairs.ids[b]) for a, b in zip(pairs.first, pairs.second, strict=True)] == [("left", "right")]
