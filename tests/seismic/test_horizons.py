"""Top and base of salt: analytic bodies, a brute-force loop, coordinates, and files read back by xtgeo."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saltzoo.data import make_survey
from saltzoo.seismic import (
    fit_regular_grid,
    salt_horizons,
    scale_coordinates,
    write_horizon_csv,
    write_irap_grid,
)

SPHERE = (20.3, 24.6, 31.7), 14.2


def sphere(shape=(41, 48, 64), centre=SPHERE[0], radius=SPHERE[1]):
    """Distance inside a sphere, and its top and base in each trace, NaN where a trace misses it."""
    i, x, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    inside = radius - np.sqrt((i - centre[0]) ** 2 + (x - centre[1]) ** 2 + (z - centre[2]) ** 2)
    across = (i[..., 0] - centre[0]) ** 2 + (x[..., 0] - centre[1]) ** 2
    half = np.sqrt(np.where(across < radius**2, radius**2 - across, np.nan))
    return inside, centre[2] - half, centre[2] + half


def both_known(found, expected):
    return np.isfinite(found) & np.isfinite(expected)


def test_a_mask_of_a_sphere_is_met_within_half_a_sample():
    inside, top, base = sphere()
    found = salt_horizons(inside > 0, slab=7)
    for surface, expected in ((found.top, top), (found.base, base)):
        known = both_known(surface, expected)
        assert known.sum() > 0.95 * np.isfinite(expected).sum()
        assert np.abs(surface - expected)[known].max() <= 0.5 + 1e-6
        assert not np.isfinite(surface[~np.isfinite(expected)]).any()
    assert set(np.unique(found.crossings)) == {0, 2}


def test_probabilities_of_a_sphere_are_met_between_samples():
    """A probability that is linear in the distance crosses 1/2 where the distance is 0, up to the sphere's curve."""
    inside, top, base = sphere()
    found = salt_horizons(np.clip(0.5 + inside / 6, 0, 1).astype(np.float32))
    flat = np.hypot(np.arange(41)[:, None] - SPHERE[0][0], np.arange(48) - SPHERE[0][1]) < 0.9 * SPHERE[1]
    for surface, expected in ((found.top, top), (found.base, base)):
        assert np.abs(surface - expected)[flat].max() < 0.02


def test_an_overhang_has_its_first_top_its_last_base_and_four_crossings():
    """A bulb above a slab: sediment lies between them."""
    upper, top, _ = sphere((30, 30, 80), (14.5, 14.5, 20.0), 10.0)
    lower, _, _ = sphere((30, 30, 80), (14.5, 14.5, 60.0), 12.0)
    found = salt_horizons((upper > 0) | (lower > 0))
    _, _, base = sphere((30, 30, 80), (14.5, 14.5, 60.0), 12.0)
    both = np.isfinite(top) & (found.crossings == 4)
    assert both.sum() > 250
    assert np.abs(found.top - top)[both].max() <= 0.5 + 1e-6
    assert np.abs(found.base - base)[both].max() <= 0.5 + 1e-6


def test_salt_that_leaves_the_survey_has_no_top_or_base():
    volume = np.zeros((1, 3, 6), bool)
    volume[0, 0, :3] = volume[0, 1, 3:] = volume[0, 2] = True
    found = salt_horizons(volume)
    np.testing.assert_array_equal(found.top, [[np.nan, 2.5, np.nan]])
    np.testing.assert_array_equal(found.base, [[2.5, np.nan, np.nan]])
    np.testing.assert_array_equal(found.crossings, [[1, 1, 0]])


def by_loop(trace, threshold):
    trace = [0.0 if np.isnan(value) else float(value) for value in trace]
    salt = [value > threshold for value in trace]
    changes = [k for k in range(len(trace) - 1) if salt[k] != salt[k + 1]]

    def place(k):
        return k + (threshold - trace[k]) / (trace[k + 1] - trace[k])

    top = place(changes[0]) if any(salt) and not salt[0] else np.nan
    base = place(changes[-1]) if any(salt) and not salt[-1] else np.nan
    return top, base, len(changes)


@settings(max_examples=60, deadline=None)
@given(
    volume=arrays(np.float32, (3, 2, 6), elements=st.sampled_from([0.0, 0.25, 0.375, 0.625, 1.0, np.nan])),
    threshold=st.sampled_from([0.25, 0.5, 0.7]),
    slab=st.integers(1, 4),
)
def test_every_trace_is_that_of_a_loop(volume, threshold, slab):
    found = salt_horizons(volume, threshold=threshold, slab=slab)
    for i, j in np.ndindex(volume.shape[:2]):
        top, base, crossings = by_loop(volume[i, j], threshold)
        np.testing.assert_allclose([found.top[i, j], found.base[i, j]], [top, base], atol=1e-6)
        assert found.crossings[i, j] == crossings


def test_a_survey_is_read_slab_by_slab():
    class Watched:
        shape = (50, 8, 40)
        most = 0

        def __getitem__(self, key):
            self.most = max(self.most, key.stop - key.start)
            return np.zeros((key.stop - key.start, 8, 40), np.float16)

    volume = Watched()
    assert np.isnan(salt_horizons(volume, slab=4).top).all()
    assert volume.most == 4


@pytest.mark.parametrize(
    ("volume", "options", "message"),
    [
        (np.zeros((3, 4)), {}, r"volume must be \(inline, crossline, sample\).*got shape \(3, 4\)"),
        (np.full((2, 2, 3), 2.0), {}, "in 0..1, got 2 to 2 in inlines 0..1"),
        (np.full((2, 2, 3), np.inf), {}, "in 0..1"),
        (np.zeros((2, 2, 3)), {"threshold": 1.0}, "threshold must be above 0 and below 1, got 1.0"),
        (np.zeros((2, 2, 3)), {"slab": 0}, "slab must be at least 1, got 0"),
    ],
)
def test_wrong_input_is_named(volume, options, message):
    with pytest.raises(ValueError, match=message):
        salt_horizons(volume, **options)


# Coordinates and files


@pytest.mark.parametrize(("scalco", "expected"), [(-10, 123.4), (10, 12340), (0, 1234), (1, 1234), (-100, 12.34)])
def test_coordinates_are_scaled_as_segy_says(scalco, expected):
    np.testing.assert_allclose(scale_coordinates(np.array([1234], np.int32), scalco), [expected])


def test_each_trace_may_have_its_own_scalar():
    scaled = scale_coordinates(np.array([[1000, 1000], [1000, 1000]]), np.array([[-10, 10], [0, -100]], np.int16))
    np.testing.assert_allclose(scaled, [[100, 10000], [1000, 10]])


def coordinates(shape, *, azimuth, steps, left_handed=False, origin=(456000.0, 6780000.0)):
    """Coordinates of traces, (inline, crossline), x and y."""
    along = np.array([np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))])
    across = np.array([-along[1], along[0]]) * (-1 if left_handed else 1)
    i, j = np.meshgrid(*map(np.arange, shape), indexing="ij")
    points = np.array(origin) + i[..., None] * steps[0] * along + j[..., None] * steps[1] * across
    return points[..., 0], points[..., 1]


@pytest.mark.parametrize("scalco", [-10, 10])
def test_a_table_holds_each_point_of_the_horizon(tmp_path, scalco):
    horizon = np.array([[1.5, np.nan, 2.25], [np.nan, 3.0, 4.0]])
    x, y = np.arange(6).reshape(2, 3) * 100 + 5, np.arange(6).reshape(2, 3) * 7
    path = write_horizon_csv(
        tmp_path / "top.csv",
        horizon,
        inlines=[10, 12],
        crosslines=[5, 6, 7],
        x=x,
        y=y,
        scalco=scalco,
        start=100,
        interval=4,
    )
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["il"]), int(row["xl"])) for row in rows] == [(10, 5), (10, 7), (12, 6), (12, 7)]
    factor = {-10: 0.1, 10: 10}[scalco]
    np.testing.assert_allclose([float(row["x"]) for row in rows], x[np.isfinite(horizon)] * factor)
    np.testing.assert_allclose([float(row["y"]) for row in rows], y[np.isfinite(horizon)] * factor)
    np.testing.assert_allclose([float(row["z"]) for row in rows], [106, 109, 112, 116])


def test_a_horizon_of_another_shape_is_refused_and_leaves_no_file(tmp_path):
    options = {"inlines": [1, 2], "crosslines": [1, 2, 3], "x": np.zeros((2, 3)), "y": np.zeros((2, 2))}
    with pytest.raises(ValueError, match=r"y must have the horizon's shape \(2, 3\), got \(2, 2\)"):
        write_horizon_csv(tmp_path / "top.csv", np.zeros((2, 3)), **options)
    with pytest.raises(ValueError, match=r"got shape \(3, 3\), 2 inlines and 3 crosslines"):
        write_horizon_csv(tmp_path / "top.csv", np.zeros((3, 3)), **options)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_there_are_kept(tmp_path):
    path = tmp_path / "top.irap"
    path.write_text("mine")
    grid = fit_regular_grid(*coordinates((3, 4), azimuth=0, steps=(25, 12.5)))
    with pytest.raises(FileExistsError, match="is there already"):
        write_irap_grid(path, np.zeros((3, 4)), grid)
    assert path.read_text() == "mine"


@settings(max_examples=40, deadline=None)
@given(
    azimuth=st.floats(-179, 179),
    steps=st.tuples(st.floats(5, 50), st.floats(5, 50)),
    left_handed=st.booleans(),
    shape=st.tuples(st.integers(2, 6), st.integers(2, 6)),
)
def test_the_grid_is_found_in_rounded_coordinates(azimuth, steps, left_handed, shape):
    x, y = coordinates(shape, azimuth=azimuth, steps=steps, left_handed=left_handed)
    grid = fit_regular_grid(np.rint(x * 100), np.rint(y * 100), scalco=-100)
    np.testing.assert_allclose(grid.steps, steps, atol=0.02)
    np.testing.assert_allclose(grid.origin, (x[0, 0], y[0, 0]), atol=0.02)
    assert grid.left_handed == left_handed
    assert abs((grid.azimuth - azimuth + 180) % 360 - 180) < 0.2


def test_missing_traces_do_not_move_the_grid():
    x, y = coordinates((6, 5), azimuth=33, steps=(25, 12.5))
    x[0, 0] = x[3, 2] = np.nan
    grid = fit_regular_grid(x, y)
    np.testing.assert_allclose(grid.origin, (456000, 6780000), atol=1e-6)


@pytest.mark.parametrize("kind", ["bent", "oblique", "one line", "one point"])
def test_other_shapes_of_survey_are_no_grid(kind):
    x, y = coordinates((6, 5), azimuth=10, steps=(25, 12.5))
    if kind == "bent":
        x = x + 2.0 * np.arange(6)[:, None] ** 2
    if kind == "oblique":
        x = x + 0.3 * (y - y[0, 0])
    if kind == "one line":
        x, y = x[:1], y[:1]
    if kind == "one point":
        x, y = np.zeros((6, 5)), np.zeros((6, 5))
    with pytest.raises(ValueError, match="x and y must"):
        fit_regular_grid(x, y)


@pytest.mark.slow
@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("azimuth", [0, 30, 120, -75, 200])
def test_xtgeo_reads_the_surface_where_it_is(tmp_path, azimuth, left_handed):
    """Every point of the salt's top is at its coordinates and depth, for every rotation and handedness."""
    xtgeo = pytest.importorskip("xtgeo")
    _, mask = make_survey((7, 9, 64), seed=1)
    top = salt_horizons(mask).top.copy()
    top[2:4, 3:6] = np.nan  # columns without salt
    assert 5 < np.isfinite(top).sum() < top.size
    x, y = coordinates(top.shape, azimuth=azimuth, steps=(25.0, 12.5), left_handed=left_handed)
    grid = fit_regular_grid(np.rint(x * 10), np.rint(y * 10), scalco=-10)
    path = write_irap_grid(tmp_path / "top.irap", top, grid, start=1000, interval=4)
    surface = xtgeo.surface_from_file(path, fformat="irap_ascii")
    sx, sy = surface.get_xy_values()
    points = np.stack([np.ma.getdata(sx).ravel(), np.ma.getdata(sy).ravel()], axis=1)
    depths = surface.values.filled(np.nan).ravel()
    nearest = np.array([np.argmin(np.hypot(*(points - place).T)) for place in zip(x.flat, y.flat, strict=True)])
    assert sorted(nearest) == list(range(top.size))
    np.testing.assert_allclose(points[nearest], np.stack([x.ravel(), y.ravel()], axis=1), atol=0.2)
    np.testing.assert_allclose(depths[nearest], 1000 + 4 * top.ravel(), atol=1e-3)
