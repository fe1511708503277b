"""`saltzoo report`: analytic bodies in files, read back with xtgeo and csv; what it takes by default and refuses."""

import csv
import json
import os
import sys

import numpy as np
import pytest
import segyio
from _segy_files import grid_words, write_segy
from PIL import Image

from saltzoo.cli import main, products, progress
from saltzoo.cli.products import Products, plan_products
from saltzoo.data import SyntheticSurvey
from saltzoo.seismic import open_survey, salt_horizons, write_like
from saltzoo.seismic.segy import SegySource

SHAPE = (24, 30, 64)
START, INTERVAL = 100, 4
STEPS = np.array([(40, 30), (-30, 40)])
"""Along inlines and crosslines, metres: whole tens, on a grid that is turned by 36.87 degrees."""


def distance(centre, radius, shape=SHAPE):
    """Distance inside a sphere, (inline, crossline, sample)."""
    i, x, z = np.ogrid[tuple(slice(0, n) for n in shape)]
    return radius - np.sqrt((i - centre[0]) ** 2 + (x - centre[1]) ** 2 + (z - centre[2]) ** 2)


def half_chord(centre, radius):
    i, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    across = (i - centre[0]) ** 2 + (x - centre[1]) ** 2
    return np.sqrt(np.where(across < radius**2, radius**2 - across, np.nan))


BULB, STEM = ((11.3, 14.6, 20.2), 8.4), ((12.1, 15.2, 48.3), 6.7)
INSIDE = np.maximum(distance(*BULB), distance(*STEM))
TOP = BULB[0][2] - half_chord(*BULB)
BASE = STEM[0][2] + half_chord(*STEM)
OVERHUNG = np.isfinite(TOP) & np.isfinite(BASE)


def positions():
    i, x = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij")
    return (np.array([450_000, 6_780_000])[:, None, None] + STEPS[0][:, None, None] * i) + STEPS[1][:, None, None] * x


def write_volume(path, values, scalco, *, coordinates=True):
    """Write a volume with inlines from 500, crosslines from 20 by 2, and coordinates by their scalar."""
    words = grid_words(range(500, 524), range(20, 80, 2))
    factor = {-10: 10, 10: 0.1, 1: 1}[scalco]
    for place, values_of in zip((181, 185), positions() * coordinates, strict=True):
        words[place] = np.rint(values_of.ravel() * factor).astype(int)
    words |= {73: 0 * words[189], 77: 0 * words[189]}
    write_segy(path, values.reshape(-1, SHAPE[2]), words, interval=1000 * INTERVAL, delay=START)
    raw = np.memmap(path, "u1", "r+", 3600).reshape(-1, 240 + 4 * SHAPE[2])
    raw[:, 70:72] = np.array([scalco], ">i2").view("u1")
    raw.flush()
    return path


def run(capsys, *words):
    status = main(["report", *map(str, words)])
    done = capsys.readouterr()
    return status, done.out, " ".join(done.err.split())


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def grid_of(path, column="z"):
    """A table as an array (inline, crossline), and the largest distance of its points from their places."""
    found, off = np.full(SHAPE[:2], np.nan), 0.0
    x, y = positions()
    for row in rows_of(path):
        i, j = int(row["il"]) - 500, (int(row["xl"]) - 20) // 2
        found[i, j] = float(row[column])
        off = max(off, np.hypot(float(row["x"]) - x[i, j], float(row["y"]) - y[i, j]))
    return found, off


@pytest.mark.parametrize("kind", ["mask", "probabilities"])
@pytest.mark.parametrize("scalco", [-10, 10])
def test_an_overhang_is_met_within_half_a_sample_at_its_coordinates(tmp_path, capsys, scalco, kind):
    values = np.where(INSIDE > 0, 1.0, 0.0) if kind == "mask" else np.clip(0.5 + INSIDE / 6, 0, 1)
    salt = write_volume(tmp_path / "salt.sgy", values, scalco)
    assert run(capsys, salt, "--horizons", tmp_path / "h")[0] == 0
    for name, expected in (("top", TOP), ("base", BASE)):
        found, off = grid_of(tmp_path / "h" / f"{name}.csv")
        assert off < 1e-6
        error = np.abs((found - START) / INTERVAL - expected)[OVERHUNG]
        assert np.nanmax(error) <= 0.5 + 1e-3
        assert np.isfinite(error).mean() > 0.95
        if kind == "probabilities":  # linear in the distance: exact but for the curve of the sphere
            assert np.nanmedian(error) < 0.05
    crossings, _ = grid_of(tmp_path / "h" / "crossings.csv", "crossings")
    between = (STEM[0][2] - half_chord(*STEM)) - (BULB[0][2] + half_chord(*BULB))
    assert (crossings[between > 1] == 4).all()
    assert (between > 1).sum() > 50
    assert set(np.unique(crossings[np.isfinite(crossings)])) <= {2, 4}


@pytest.mark.slow  # xtgeo takes 5 s to import
@pytest.mark.parametrize("scalco", [-10, 10])
def test_xtgeo_reads_the_surfaces_where_they_are(tmp_path, capsys, scalco):
    xtgeo = pytest.importorskip("xtgeo")
    salt = write_volume(tmp_path / "salt.sgy", np.where(INSIDE > 0, 1.0, 0.0), scalco)
    assert run(capsys, salt, "--horizons", tmp_path / "h")[0] == 0
    x, y = positions()
    for name, expected in (("top", TOP), ("base", BASE)):
        surface = xtgeo.surface_from_file(tmp_path / "h" / f"{name}.irap", fformat="irap_ascii")
        sx, sy = (np.ma.getdata(one) for one in surface.get_xy_values())
        nearest = ((sx.ravel()[:, None] - x.ravel()) ** 2 + (sy.ravel()[:, None] - y.ravel()) ** 2).argmin(0)
        np.testing.assert_allclose(sx.ravel()[nearest], x.ravel(), atol=0.01)
        np.testing.assert_allclose(sy.ravel()[nearest], y.ravel(), atol=0.01)
        found = surface.values.filled(np.nan).ravel()[nearest].reshape(SHAPE[:2])
        error = np.abs((found - START) / INTERVAL - expected)[OVERHUNG]
        assert np.nanmax(error) <= 0.5 + 1e-3
        assert np.isfinite(error).mean() > 0.95


def test_small_bodies_are_in_no_product(tmp_path, capsys):
    speck = INSIDE > 0
    speck[2:4, 3, 60:62] = True
    salt = write_volume(tmp_path / "salt.sgy", speck.astype(float), 1)
    words = ["--horizons", tmp_path / "h", "--bodies", tmp_path / "b.csv", "--mask", tmp_path / "m.sgy"]
    status, out, _ = run(capsys, salt, *words, "--min-voxels", 5, "--json")
    found = json.loads(out)
    sizes = [int((distance(*one) > 0).sum()) for one in (BULB, STEM)]
    assert (status, found["bodies"]["count"], found["bodies"]["kept"]) == (0, 3, 2)
    first, second = rows_of(tmp_path / "b.csv")
    assert [int(first["voxels"]), int(second["voxels"])] == sorted(sizes, reverse=True)
    places = np.argwhere(distance(*BULB) > 0)
    low, high = places.min(0), places.max(0)
    assert [int(first["inline_first"]), int(first["inline_last"])] == [500 + low[0], 500 + high[0]]
    assert [int(first["crossline_first"]), int(first["crossline_last"])] == [20 + 2 * low[1], 20 + 2 * high[1]]
    assert [int(first["sample_first"]), int(first["sample_last"])] == [100 + 4 * low[2], 100 + 4 * high[2]]
    with segyio.open(tmp_path / "m.sgy", ignore_geometry=True) as file:
        np.testing.assert_array_equal(file.trace.raw[:].reshape(SHAPE), INSIDE > 0)
    crossings, _ = grid_of(tmp_path / "h" / "crossings.csv", "crossings")
    np.testing.assert_array_equal(np.isfinite(crossings), (INSIDE > 0).any(2))
    assert found["salt"] == pytest.approx(speck.mean())
    assert found["horizons"]["traces"] == len(rows_of(tmp_path / "h" / "top.csv"))
    assert found["horizons"]["overhangs"] == (crossings > 2).sum()


PRODUCTS = ["horizons", "bodies", "mask"]


@pytest.mark.parametrize("names", [[], PRODUCTS[:1], PRODUCTS[1:], PRODUCTS])
@pytest.mark.parametrize("min_voxels", [1, 5])
def test_progress_counts_every_inline_that_is_read(tmp_path, monkeypatch, names, min_voxels):
    salt = write_volume(tmp_path / "salt.sgy", np.where(INSIDE > 0, 1.0, 0.0), 1)
    monkeypatch.setattr(products, "slab_of", lambda volume: 7)
    wanted = Products(**{name: tmp_path / f"{name}.{'csv' if name == 'bodies' else 'sgy'}" for name in names})
    read, told = [], []
    request = plan_products(salt, wanted, min_voxels=min_voxels)
    source = SegySource.read

    def counted(self, inlines, *others):
        read.append(len(range(inlines.start, inlines.stop)))
        return source(self, inlines, *others)

    monkeypatch.setattr(SegySource, "read", counted)
    products.make_products(request, progress=lambda finished, count: told.append((finished, count)))
    assert [finished for finished, _ in told] == np.cumsum(read).tolist()
    assert {count for _, count in told} == {sum(read)}
    assert len(told) > SHAPE[0] // 7


def test_only_a_terminal_gets_a_bar_and_json_none(tmp_path, capsys, monkeypatch):
    salt = write_volume(tmp_path / "salt.sgy", np.where(INSIDE > 0, 1.0, 0.0), 1)
    words = [salt, "--bodies", tmp_path / "b.csv", "--overwrite"]
    assert run(capsys, *words)[2] == ""
    monkeypatch.setattr(progress, "_is_terminal", lambda: True)
    status, out, err = run(capsys, *words)
    assert (status, f"{2 * SHAPE[0]}/{2 * SHAPE[0]}" in err, "inline" in out) == (0, True, False)
    assert run(capsys, *words, "--json")[2] == ""


@pytest.mark.parametrize("slab", [1, 5, 100])
def test_slabs_do_not_change_the_files(tmp_path, capsys, monkeypatch, slab):
    salt = write_volume(tmp_path / "salt.sgy", np.clip(0.5 + INSIDE / 6, 0, 1), 1)
    words = ["--horizons", "h", "--bodies", "b.csv", "--mask", "m.sgy", "--min-voxels", 5]
    files = ("h/top.csv", "h/base.irap", "b.csv", "m.sgy")
    contents = []
    for lines, folder in ((slab, "one"), (7, "other")):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        monkeypatch.setattr(products, "_VOXELS", lines * SHAPE[1] * SHAPE[2])
        assert run(capsys, salt, *words)[0] == 0
        contents.append([(tmp_path / folder / name).read_bytes() for name in files])
    assert contents[0] == contents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A survey, its salt as probabilities, and what `saltzoo predict` writes beside them."""
    folder = tmp_path_factory.mktemp("finished")
    survey = SyntheticSurvey((10, 12, 40), seed=1)
    cube = open_survey(survey.write(folder / "cube.sgy"))
    salt = np.where(survey.masks(0, 10), np.float32(0.9), np.float32(0.2))
    write_like(cube, folder / "salt.sgy", salt)
    write_like(cube, folder / "salt.zarr", salt)
    write_like(cube, folder / "d.sgy", salt / 3)
    told = {"volume": "salt.sgy", "survey": "gone/cube.sgy", "disagreement": "d.sgy", "threshold": 0.95}
    (folder / "salt.json").write_text(json.dumps({**told, "kind": "probability", "model": "a.b"}))
    return folder, salt


def test_the_file_beside_the_volume_names_survey_threshold_and_disagreement(finished, tmp_path, capsys):
    folder, salt = finished
    status, out, err = run(capsys, folder / "salt.sgy", "--qc", tmp_path / "q.png", "--json")
    found = json.loads(out)
    assert (status, err, found["threshold"], found["salt"]) == (0, "", 0.95, 0)
    assert found["qc"]["at"] == [1006, 2007, 80]  # without salt: the middle
    status, out, _ = run(capsys, folder / "salt.sgy", "--qc", tmp_path / "r.png", "--threshold", 0.5, "--json")
    at = json.loads(out)["qc"]["at"]
    counts = [np.count_nonzero(salt > 0.5, axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    expected = [
        first + step * int(one.argmax()) for one, first, step in zip(counts, (1001, 2001, 0), (1, 1, 4), strict=True)
    ]
    assert at == expected
    words = ["--qc", tmp_path / "s.png", "--threshold", 0.5, "--at", *at]
    assert run(capsys, folder / "salt.sgy", *words, "--disagreement", folder / "d.sgy")[0] == 0
    pages = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "rs"]
    np.testing.assert_array_equal(*pages)


def test_zarr_has_the_same_products(finished, tmp_path, capsys):
    folder, _ = finished
    for name in ("sgy", "zarr"):
        words = ["--horizons", tmp_path / name, "--bodies", tmp_path / f"{name}.csv", "--threshold", 0.5]
        assert run(capsys, folder / f"salt.{name}", *words)[0] == 0
    for file in ("top.csv", "base.csv", "crossings.csv"):
        assert rows_of(tmp_path / "sgy" / file) == rows_of(tmp_path / "zarr" / file)
    assert rows_of(tmp_path / "sgy.csv") == rows_of(tmp_path / "zarr.csv")


def test_without_coordinates_there_are_tables_without_them(tmp_path, capsys):
    salt = write_volume(tmp_path / "salt.sgy", (INSIDE > 0).astype(float), 1, coordinates=False)
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "top.irap").write_text("of another run")
    assert run(capsys, salt, "--horizons", tmp_path / "h")[0] == 2
    status, out, _ = run(capsys, salt, "--horizons", tmp_path / "h", "--overwrite")
    assert status == 0
    assert f"no IRAP grids: {salt} gives no coordinates" in out
    assert sorted(os.listdir(tmp_path / "h")) == ["base.csv", "crossings.csv", "top.csv"]
    rows = rows_of(tmp_path / "h" / "top.csv")
    assert {(row["x"], row["y"]) for row in rows} == {("", "")}
    top = salt_horizons(open_survey(salt)).top
    assert [float(row["z"]) for row in rows] == pytest.approx((100 + 4 * top[np.isfinite(top)]).tolist())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to write: give one or more of --horizons, --bodies, --mask, --qc"),
        (["--bodies", "b.txt"], "--bodies must end with .csv, got 'b.txt'"),
        (["--qc", "q.jpg"], "--qc must end with .png, got 'q.jpg'"),
        (["--mask", "m.tif"], "--mask: path must end with .sgy, .segy, .zarr for salt.sgy, got 'm.tif'"),
        (["--mask", "FOLDER/salt.sgy"], "--mask must have a path of its own"),
        (["--bodies", "h/top.csv", "--horizons", "h"], "--horizons must have a path of its own, got h/top.csv twice"),
        (["--bodies", "there.csv"], "--bodies: there.csv is there already: choose another, or --overwrite"),
        (["--bodies", "b.csv", "--at", "1", "1", "1"], "--at is of the page, and there is no --qc"),
        (["--qc", "q.png", "--at", "1000", "2001", "4"], "--at: inline must be one of 1001 to 1010, step 1, got 1000"),
        (["--qc", "q.png", "--at", "1001", "2001", "159"], "--at: time must be one of 0 to 156, step 4, got 159"),
        (["--qc", "q.png", "--survey", "small.sgy"], "--survey must have the geometry of"),
        (["--qc", "q.png", "--survey", "none.sgy"], "No such file or directory: 'none.sgy'"),
        (["--bodies", "b.csv", "--threshold", "1"], "1.0 is not in the range 0<x<1"),
    ],
)
def test_a_wrong_command_leaves_everything_as_it_was(finished, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    os.symlink(write_volume(tmp_path / "s.sgy", INSIDE, 1), tmp_path / "small.sgy")
    before = sorted(os.listdir())
    words = [word.replace("FOLDER", str(finished[0])) for word in words]
    status, out, err = run(capsys, finished[0] / "salt.sgy", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert sorted(os.listdir()) == before


def test_the_survey_that_is_not_there_is_named(finished, tmp_path, capsys):
    folder, _ = finished
    status, _, err = run(capsys, folder / "salt.zarr", "--qc", tmp_path / "q.png")
    assert status == 2
    assert "--survey must be the survey that was segmented, for --qc: got none: give its path" in err


def test_amplitudes_are_no_salt(finished, tmp_path, capsys):
    status, _, err = run(capsys, finished[0] / "cube.sgy", "--horizons", tmp_path / "h")
    assert status == 1
    assert f"{finished[0] / 'cube.sgy'}: volume must hold probabilities in 0..1" in err
    assert not (tmp_path / "h").exists()


def test_without_scipy_the_extra_is_named(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    folder, _ = finished
    status, _, err = run(capsys, folder / "salt.sgy", "--bodies", tmp_path / "b.csv")
    assert (status, os.listdir(tmp_path)) == (1, [])
    assert 'Bodies needs scipy: install it with `pip install "saltzoo[clean]"`' in err
    assert run(capsys, folder / "salt.sgy", "--horizons", tmp_path / "h", "--qc", tmp_path / "q.png")[0] == 0
