"""Synthetic surveys as files: read back by segyio and xarray, the same bytes every time."""

import hashlib
import json
import os

import numpy as np
import pytest
import segyio
import xarray

from saltzoo.cli import main
from saltzoo.data import SyntheticSurvey
from saltzoo.seismic import open_survey, write_survey

SHAPE = (7, 9, 40)


@pytest.fixture(scope="module")
def survey():
    return SyntheticSurvey(SHAPE, seed=5)


@pytest.fixture(scope="module")
def expected(survey):
    return survey.slab(0, SHAPE[0])


def test_segyio_reads_amplitudes_mask_and_geometry(tmp_path, survey, expected):
    path = survey.write(tmp_path / "a.sgy", mask=tmp_path / "m.sgy")
    for name, values, code in ((path, expected[0], 5), (tmp_path / "m.sgy", expected[1], 8)):
        with segyio.open(name, strict=True) as file:
            np.testing.assert_array_equal(segyio.cube(file), values)
            assert int(file.format) == code
            assert file.sorting == segyio.TraceSortingFormat.INLINE_SORTING
            assert file.ilines.tolist() == list(range(1001, 1008))
            assert file.xlines.tolist() == list(range(2001, 2010))
            assert file.samples.tolist() == (4.0 * np.arange(40)).tolist()
            assert (segyio.dt(file), file.bin[segyio.BinField.Interval]) == (4000, 4000)
            text = bytes(file.text[0]).decode()
    assert "Salt of a synthetic survey of saltzoo: seed 5, polarity 1, peak drawn" in text


def test_coordinates_are_those_of_a_grid_turned_by_30_degrees(tmp_path, survey):
    path = survey.write(tmp_path / "a.sgy")
    with segyio.open(path) as file:
        stored = np.array([file.attributes(word)[:] for word in (181, 185, 71, 73, 77)], float)
    x, y = (stored[:2] / 100).reshape(2, *SHAPE[:2])
    assert set(stored[2]) == {-100}
    np.testing.assert_array_equal(stored[3:], stored[:2])
    along, across = (np.array([np.diff(one, axis=axis) for one in (x, y)]) for axis in (0, 1))
    np.testing.assert_allclose(np.hypot(*along), 25, atol=0.02)
    np.testing.assert_allclose(np.hypot(*across), 25, atol=0.02)
    np.testing.assert_allclose(np.degrees(np.arctan2(along[1], along[0])), 30, atol=0.05)
    np.testing.assert_allclose(np.degrees(np.arctan2(across[1], across[0])), 120, atol=0.05)
    np.testing.assert_allclose(open_survey(path).coordinates(), [x, y])


def test_xarray_reads_the_store(tmp_path, survey, expected):
    survey.write(tmp_path / "a.zarr", mask=tmp_path / "m.zarr")
    cube, mask = (xarray.open_zarr(tmp_path / name, consolidated=False) for name in ("a.zarr", "m.zarr"))
    np.testing.assert_array_equal(cube["amplitude"].values, expected[0])
    np.testing.assert_array_equal(mask["mask"].values, expected[1])
    assert cube["amplitude"].dims == ("inline", "crossline", "time")
    x, y = survey.as_survey().coordinates()
    for one in (cube, mask):
        assert set(one.coords) == {"inline", "crossline", "time", "cdp_x", "cdp_y"}
        np.testing.assert_array_equal([one["cdp_x"], one["cdp_y"]], [x, y])
        assert one["inline"].values.tolist() == list(range(1001, 1008))


def test_the_bytes_depend_on_the_arguments_alone(tmp_path, monkeypatch, survey):
    first = survey.write(tmp_path / "a.sgy", mask=tmp_path / "m.sgy")
    monkeypatch.setattr("saltzoo.data.synthetic_file._SLAB", 3 * SHAPE[1] * SHAPE[2])
    monkeypatch.setattr("saltzoo.seismic.segy._SLAB", 4 * 2 * SHAPE[1] * SHAPE[2])
    SyntheticSurvey(SHAPE, seed=5).write(tmp_path / "b.sgy", mask=tmp_path / "n.sgy")
    assert first.read_bytes() == (tmp_path / "b.sgy").read_bytes()
    assert (tmp_path / "m.sgy").read_bytes() == (tmp_path / "n.sgy").read_bytes()


def test_the_headers_are_pinned(tmp_path, survey):
    raw = survey.write(tmp_path / "a.sgy").read_bytes()
    trace = 240 + 4 * SHAPE[2]
    assert len(raw) == 3600 + 63 * trace
    headers = raw[:3600] + b"".join(raw[3600 + k * trace :][:240] for k in range(63))
    assert hashlib.sha256(headers).hexdigest() == "c931efb98d95f9020c027759d6b484e708d76196234bfdfecf068baff79fbd5b"


def test_parts_of_the_source_are_those_of_the_whole(survey, expected):
    survey = survey.as_survey()
    for key in ((slice(1, 6, 2), slice(2, 8, 3), slice(5, 30, 4)), (3,), (slice(None), 4), (slice(3, 3),)):
        np.testing.assert_array_equal(survey[key], expected[0][key])
    np.testing.assert_array_equal(survey.line("crossline", 2003), expected[0][:, 2].T)


def test_masks_alone_are_those_of_slabs(survey, expected):
    np.testing.assert_array_equal(survey.masks(2, 6), expected[1][2:6])
    with pytest.raises(ValueError, match=r"start and stop must be in order in 0\.\.7, got 3 and 8"):
        survey.masks(3, 8)


def test_any_survey_is_written_anew(tmp_path):
    """From zarr to SEG-Y, with missing traces left out and other numbers and times."""
    zarr = pytest.importorskip("zarr")
    values = np.random.default_rng(0).normal(size=(3, 4, 20)).astype(np.float32)
    live = np.ones((3, 4), bool)
    live[1, 2] = live[0, 0] = False
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("amplitude", data=values, dimension_names=["inline", "crossline", "time"])
    group.create_array("trace_mask", data=live)
    for name, numbers in (
        ("inline", np.array([10, 12, 14])),
        ("crossline", np.array([3, 6, 9, 12])),
        ("time", 100 + 2.5 * np.arange(20)),
    ):
        group.create_array(name, data=numbers)
    path = write_survey(open_survey(tmp_path / "a.zarr"), tmp_path / "b.sgy", notes=["from zarr"])
    with segyio.open(path, ignore_geometry=True) as file:
        np.testing.assert_array_equal(file.trace.raw[:], values[live])
        assert file.samples.tolist() == (100 + 2.5 * np.arange(20)).tolist()
        places = np.argwhere(live)
        np.testing.assert_array_equal(file.attributes(189)[:], 10 + 2 * places[:, 0])
        np.testing.assert_array_equal(file.attributes(193)[:], 3 + 3 * places[:, 1])
        assert file.attributes(1)[:].tolist() == list(range(1, 11))
    again = open_survey(path)
    np.testing.assert_array_equal(again[:], np.where(live[..., None], values, np.nan))
    with pytest.raises(ValueError, match="must give coordinates"):
        again.coordinates()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.npy"], "path must end with .sgy, .segy, .zarr, got 'a.npy'"),
        (["a.sgy", "--mask", "a.sgy"], "mask must differ from path, got a.sgy twice"),
        (["a.zarr", "--mask", "m.sgy"], "mask must end with .zarr beside a.zarr, got 'm.sgy'"),
        (["a.sgy", "--mask", "m.tif"], "mask must end with .sgy, .segy, .zarr beside a.sgy, got 'm.tif'"),
        (["there.sgy"], "there.sgy is there already"),
        (["a.sgy", "--mask", "there.sgy"], "there.sgy is there already"),
        (["a.sgy", "--shape", "4", "4", "31"], "at least 32 samples, got (4, 4, 31)"),
        (["a.sgy", "--shape", "0", "4", "40"], "0 is not in the range x>=1"),
        (["a.sgy", "--peak", "nan"], "nan is not"),
    ],
)
def test_a_wrong_command_leaves_everything_as_it_was(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.sgy").write_text("mine")
    assert main(["synthetic", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert os.listdir() == ["there.sgy"]
    assert (tmp_path / "there.sgy").read_text() == "mine"


@pytest.mark.slow
def test_the_command_writes_what_the_class_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--shape", "3", "5", "40", "--seed", "8", "--polarity", "-1", "--peak", "0.03"]
    assert main(["synthetic", "a.sgy", "--mask", "m.sgy", *words]) == 0
    assert capsys.readouterr().out == "a.sgy: 3 x 5 x 40, seed 8 -> mask m.sgy\n"
    SyntheticSurvey((3, 5, 40), seed=8, polarity=-1, peak=0.03).write("b.sgy", mask="n.sgy")
    assert (tmp_path / "a.sgy").read_bytes() == (tmp_path / "b.sgy").read_bytes()
    assert (tmp_path / "m.sgy").read_bytes() == (tmp_path / "n.sgy").read_bytes()
    assert main(["synthetic", "a.sgy", *words, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"survey": "a.sgy", "mask": None, "shape": [3, 5, 40], "seed": 8}
