"""Surveys in zarr: plain arrays and stores like those of MDIO 1.0, read, and written again."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import xarray
import zarr
from _segy_files import amplitudes, grid_words, keep, write_segy

from saltzoo.seismic import describe, open_survey, write_like

SHAPE = (5, 7, 12)
INLINES, CROSSLINES, TIMES = 100 + 2 * np.arange(5), 300 + np.arange(7), 4.0 * np.arange(12) + 100
MASK = np.ones(SHAPE[:2], bool)
MASK[1, 2] = MASK[4, 6] = False


def cube():
    return amplitudes(35, 12).reshape(SHAPE).astype(np.float32)


def mdio(path, *, zarr_format=3, order=(0, 1, 2), extra_volume=False):
    """A store as MDIO 1.0 writes it, its structured headers too; `order` permutes the dimensions."""
    names = [("inline", "crossline", "time")[axis] for axis in order]
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)

    def add(name, data, dimensions, **options):
        named = {"dimension_names": dimensions} if zarr_format == 3 else {}
        attributes = {} if zarr_format == 3 else {"_ARRAY_DIMENSIONS": dimensions}
        group.create_array(name, data=data, attributes=attributes, **named, **options)

    add("amplitude", cube().transpose(order), names, chunks=tuple((2, 3, 4)[axis] for axis in order))
    for name, values in zip(("inline", "crossline", "time"), (INLINES, CROSSLINES, TIMES), strict=True):
        add(name, values, [name])
    spatial = [name for name in names if name != "time"]
    turned = spatial[0] == "crossline"
    add("trace_mask", MASK.T if turned else MASK, spatial)
    x = 1000.0 + np.arange(35).reshape(SHAPE[:2])
    add("cdp_x", x.T if turned else x, spatial)
    if extra_volume:
        add("envelope", np.abs(cube()).transpose(order), names)
    return path


def expected():
    return np.where(MASK[:, :, None], cube(), np.nan)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_a_store_like_mdio_is_read(tmp_path, order, zarr_format):
    survey = open_survey(mdio(tmp_path / "a.mdio", order=order, zarr_format=zarr_format, extra_volume=True))
    assert survey.shape == SHAPE
    np.testing.assert_array_equal(survey[:], expected())
    np.testing.assert_array_equal(survey[1:4:2, ::3, 5], expected()[1:4:2, ::3, 5])
    np.testing.assert_array_equal(survey.line("crossline", 303), expected()[:, 3].T)
    np.testing.assert_array_equal(survey.inlines, INLINES)
    np.testing.assert_array_equal(survey.crosslines, CROSSLINES)
    np.testing.assert_array_equal(survey.samples, TIMES)
    np.testing.assert_array_equal(survey.live, MASK)
    assert survey.unit == "ms"
    assert survey.source.slab_size() == 2


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_what_is_written_has_chunks_dimensions_and_coordinates(tmp_path, order, zarr_format):
    given = mdio(tmp_path / "a.mdio", order=order, zarr_format=zarr_format, extra_volume=True)
    survey = open_survey(given)
    values = np.random.default_rng(1).random(SHAPE, dtype=np.float32)
    out = write_like(survey, tmp_path / "b.zarr", values, notes=["a note"])
    wanted = np.where(MASK[:, :, None], values, np.nan)
    store = zarr.open_group(out, mode="r")
    assert sorted(store.array_keys()) == ["cdp_x", "crossline", "inline", "probability", "time", "trace_mask"]
    assert store["probability"].chunks == zarr.open_array(given / "amplitude", mode="r").chunks
    assert store.attrs["notes"] == ["a note"]
    again = open_survey(out)
    np.testing.assert_array_equal(again[:], wanted)
    np.testing.assert_array_equal(again.samples, TIMES)
    np.testing.assert_array_equal(again.live, MASK)
    with xarray.open_zarr(out, consolidated=False) as dataset:
        assert dataset.probability.dims == tuple(("inline", "crossline", "time")[axis] for axis in order)
        read = dataset.probability.transpose("inline", "crossline", "time")
        np.testing.assert_array_equal(read.sel(inline=104).values, wanted[2])
        np.testing.assert_array_equal(dataset.cdp_x.transpose("inline", "crossline").values[1], 1007.0 + np.arange(7))
    mask = write_like(survey, tmp_path / "m.zarr", values > 0.5, mask=True)
    stored = zarr.open_group(mask, mode="r")["mask"]
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(stored[...]), ((values > 0.5) & MASK[:, :, None]).transpose(order))
    assert sorted(os.listdir(tmp_path)) == ["a.mdio", "b.zarr", "m.zarr"]


def test_headers_of_any_type_are_copied_unread(tmp_path):
    given = mdio(tmp_path / "a.mdio")
    folder = given / "headers"
    folder.mkdir()
    metadata = {"shape": [5, 7], "data_type": {"name": "unknown"}, "zarr_format": 3, "node_type": "array"}
    (folder / "zarr.json").write_text(json.dumps(metadata))
    (folder / "chunk").write_bytes(bytes(range(256)))
    out = write_like(open_survey(given), tmp_path / "b.zarr", cube())
    assert (out / "headers" / "chunk").read_bytes() == bytes(range(256))
    np.testing.assert_array_equal(open_survey(out)[:], expected())


def test_shards_are_kept(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=cube(), chunks=(1, 2, 3), shards=(2, 4, 6))
    out = write_like(open_survey(tmp_path / "a.zarr"), tmp_path / "b.zarr", cube())
    written = zarr.open_array(out / "probability", mode="r")
    assert (written.chunks, written.shards) == ((1, 2, 3), (2, 4, 6))
    np.testing.assert_array_equal(open_survey(out)[:], cube())


@pytest.mark.parametrize("names", [None, ("inline", "crossline", "depth"), ("a", "b", "c")])
def test_a_plain_array_is_numbered_from_0(tmp_path, names):
    zarr.create_array(tmp_path / "a.zarr", data=cube(), dimension_names=names)
    survey = open_survey(tmp_path / "a.zarr")
    np.testing.assert_array_equal(survey[:], cube())
    assert survey.inlines.tolist() == list(range(5))
    assert survey.unit == ""
    assert survey.live.all()
    assert describe(survey)["shape"] == list(SHAPE)


def test_a_line(tmp_path):
    line = cube()[0]
    zarr.create_array(tmp_path / "a.zarr", data=line.T, dimension_names=("time", "cdp"), chunks=(4, 3))
    survey = open_survey(tmp_path / "a.zarr")
    assert survey.shape == (1, 7, 12)
    np.testing.assert_array_equal(survey.line("inline", 0), line.T)
    np.testing.assert_array_equal(survey.line("crossline", 3), line[3:4].T)
    out = write_like(survey, tmp_path / "b.zarr", survey)
    written = zarr.open_array(out / "probability", mode="r")
    np.testing.assert_array_equal(written[...], line.T)
    assert written.chunks == (4, 3)


def test_segy_becomes_zarr(tmp_path):
    words, values = keep(grid_words(INLINES, CROSSLINES), amplitudes(35, 12), np.flatnonzero(MASK.ravel()))
    write_segy(tmp_path / "a.sgy", values, words, code=3, delay=100)
    survey = open_survey(tmp_path / "a.sgy")
    out = write_like(survey, tmp_path / "b.zarr", survey, name="amplitude")
    again = open_survey(out)
    np.testing.assert_array_equal(again[:], survey[:])
    for name in ("inlines", "crosslines", "samples", "live"):
        np.testing.assert_array_equal(getattr(again, name), getattr(survey, name))
    with xarray.open_zarr(out, consolidated=False) as dataset:
        np.testing.assert_array_equal(dataset.amplitude.sel(inline=104, time=104.0).values, survey[2, :, 1])
    with pytest.raises(ValueError, match=r"path must end with .zarr for b.zarr, got 'c.sgy'"):
        write_like(again, tmp_path / "c.sgy", survey)


def test_what_is_no_volume_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="must be a SEG-Y file or a folder of zarr"):
        open_survey(tmp_path / "empty")
    zarr.create_array(tmp_path / "a.zarr", data=np.zeros((2, 2, 2, 2)))
    with pytest.raises(ValueError, match=r"must be an array .* got float64 \(2, 2, 2, 2\)"):
        open_survey(tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "b.zarr", mode="w")
    for name in ("near", "far"):
        group.create_array(name, data=cube())
    with pytest.raises(ValueError, match=r"one array of three dimensions, or one named amplitude, got far, near: open"):
        open_survey(tmp_path / "b.zarr")
    np.testing.assert_array_equal(open_survey(tmp_path / "b.zarr" / "near")[:], cube())
    with pytest.raises(ValueError, match="iline must be None for zarr, got 189"):
        open_survey(tmp_path / "b.zarr", iline=189, xline=193)
    zarr.open_group(tmp_path / "c.zarr", mode="w")
    with pytest.raises(ValueError, match=r"c\.zarr"):
        open_survey(tmp_path / "c.zarr")
    (tmp_path / "d.zarr").mkdir()
    (tmp_path / "d.zarr" / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read as a zarr array"):
        open_survey(tmp_path / "d.zarr")


def test_a_failure_leaves_nothing(tmp_path):
    survey = open_survey(mdio(tmp_path / "a.mdio"))
    with pytest.raises(ValueError, match="floating point"):
        write_like(survey, tmp_path / "b.zarr", np.ones(SHAPE, int))
    with pytest.raises(FileExistsError):
        write_like(survey, mdio(tmp_path / "c.zarr"), cube())
    np.testing.assert_array_equal(open_survey(tmp_path / "c.zarr")[:], expected())
    write_like(survey, tmp_path / "c.zarr", cube() + 1, overwrite=True)
    np.testing.assert_array_equal(open_survey(tmp_path / "c.zarr")[:], expected() + 1)
    assert sorted(os.listdir(tmp_path)) == ["a.mdio", "c.zarr"]


WITHOUT = """
import sys
sys.modules["zarr"] = None
from saltzoo.seismic import open_survey
try:
    open_survey(sys.argv[1])
except ImportError as error:
    print(error)
"""


def test_without_zarr_the_extra_is_named(tmp_path):
    mdio(tmp_path / "a.mdio")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, tmp_path / "a.mdio"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "zarr is needed for this: install it with `pip install 'saltzoo[zarr]'`"


def test_segy_loads_no_optional_library():
    code = "import saltzoo.seismic, sys; print({'zarr', 'segyio', 'xarray', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
