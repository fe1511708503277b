"""Survey.coordinates: x and y of each trace, scaled by bytes 71-72."""

import numpy as np
import pytest
import zarr
from _segy_files import amplitudes, grid_words, keep, write_segy
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.seismic import open_survey, write_like

INLINES, CROSSLINES, SAMPLES = range(100, 104), range(20, 25), 40
COUNT = len(INLINES) * len(CROSSLINES)


def put_scalars(path, scalars):
    """Write bytes 71-72 of each trace, which `write_segy` leaves 0."""
    raw = np.memmap(path, "u1", "r+", 3600).reshape(-1, 240 + 4 * SAMPLES)
    raw[:, 70:72] = np.asarray(scalars, ">i2").view("u1").reshape(-1, 2)
    raw.flush()


def survey_of(path, x, y, scalars, *, places=(181, 185), lost=(), dead=()):
    words = grid_words(INLINES, CROSSLINES)
    words |= {181: np.zeros(COUNT, int), 185: np.zeros(COUNT, int), 73: np.zeros(COUNT, int), 77: np.zeros(COUNT, int)}
    words |= {places[0]: np.asarray(x), places[1]: np.asarray(y)}
    words[29] = np.where(np.isin(np.arange(COUNT), dead), 2, 1)
    there = np.delete(np.arange(COUNT), lost)
    words, values = keep(words, amplitudes(COUNT, SAMPLES), there)
    write_segy(path, values, words)
    put_scalars(path, np.asarray(scalars)[there])
    return open_survey(path)


@settings(max_examples=20, deadline=None)
@given(
    x=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=COUNT, max_size=COUNT),
    y=st.lists(st.integers(1, 2**31 - 1), min_size=COUNT, max_size=COUNT),
    scalars=st.lists(st.sampled_from([-10000, -100, -10, 0, 1, 10, 100]), min_size=COUNT, max_size=COUNT),
    places=st.sampled_from([(181, 185), (73, 77)]),
)
def test_each_trace_has_its_words_by_its_own_scalar(tmp_path_factory, x, y, scalars, places):
    path = tmp_path_factory.mktemp("xy") / "a.sgy"
    found = survey_of(path, x, y, scalars, places=places, lost=[7], dead=[11]).coordinates()
    for values, stored in zip(found, (x, y), strict=True):
        assert values.shape == (len(INLINES), len(CROSSLINES))
        for trace, value in enumerate(values.ravel().tolist()):
            if trace in (7, 11):
                assert np.isnan(value)
            elif scalars[trace] < 0:
                assert value == stored[trace] / -scalars[trace]
            else:
                assert value == stored[trace] * (scalars[trace] or 1)


def test_a_file_without_coordinates_says_so(tmp_path):
    survey = survey_of(tmp_path / "a.sgy", [0] * COUNT, [0] * COUNT, [-10] * COUNT)
    with pytest.raises(ValueError, match=r"a\.sgy must give coordinates of its traces, got none"):
        survey.coordinates()


@pytest.mark.parametrize("names", [("cdp_x", "cdp_y"), ("x", "y")])
def test_zarr_gives_its_arrays(tmp_path, names):
    x, y = np.arange(COUNT) * 25 + 600000, np.arange(COUNT) * 3 + 70
    survey = survey_of(tmp_path / "a.sgy", x, y, [0] * COUNT, lost=[3])
    write_like(survey, tmp_path / "a.zarr", survey, name="amplitude")
    for found, expected in zip(open_survey(tmp_path / "a.zarr").coordinates(), survey.coordinates(), strict=True):
        np.testing.assert_array_equal(found, expected)
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r+")
    del group["cdp_x"], group["cdp_y"]
    with pytest.raises(ValueError, match="must give coordinates"):
        open_survey(tmp_path / "a.zarr").coordinates()
    for name, values in zip(names, (x, y), strict=True):
        group.create_array(name, data=values.reshape(survey.shape[:2]).astype("f8"))
    for found, expected in zip(open_survey(tmp_path / "a.zarr").coordinates(), survey.coordinates(), strict=True):
        np.testing.assert_array_equal(found, expected)
