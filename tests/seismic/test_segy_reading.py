"""open_survey on SEG-Y files: compared with segyio, and with what was written byte by byte."""

import subprocess
import sys
import warnings
from fractions import Fraction
from unittest.mock import patch

import numpy as np
import pytest
import segyio
from _segy_files import amplitudes, grid_words, keep, text_header, write_segy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saltzoo.seismic import _segy_headers, open_survey, segy
from saltzoo.seismic._segy_formats import decode

INLINES, CROSSLINES, SAMPLES = range(100, 112, 2), range(300, 335, 5), 31
ALL = (slice(None),) * 3


def cube_of(words, values, inlines, crosslines, pair=(189, 193)):
    """Brute force: the first trace of each place."""
    cube = np.full((len(inlines), len(crosslines), values.shape[1]), np.nan, np.float32)
    done = set()
    for trace, place in enumerate(zip(words[pair[0]], words[pair[1]], strict=True)):
        if place not in done:
            done.add(place)
            cube[list(inlines).index(place[0]), list(crosslines).index(place[1])] = values[trace]
    return cube


def full():
    words = grid_words(INLINES, CROSSLINES)
    return words, amplitudes(len(words[189]), SAMPLES)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("little", [False, True])
@pytest.mark.parametrize("code", [1, 2, 3, 5, 8])
def test_samples_are_those_that_segyio_reads(tmp_path, code, little, missing):
    words, values = full()
    if missing:
        words, values = keep(words, values, np.delete(np.arange(len(values)), [3, 8, 9, 30]))
    path = tmp_path / "a.sgy"
    write_segy(path, values, words, code=code, little=little)
    survey = open_survey(path)
    with segyio.open(path, ignore_geometry=True, endian="little" if little else "big") as file:
        read = file.trace.raw[:]
        assert int(file.format) == code
    np.testing.assert_array_equal(read, values)
    expected = cube_of(words, read, INLINES, CROSSLINES)
    np.testing.assert_array_equal(survey[:], expected)
    assert survey.dtype == survey[:].dtype == np.float32
    assert survey.shape == expected.shape
    np.testing.assert_array_equal(survey.inlines, INLINES)
    np.testing.assert_array_equal(survey.crosslines, CROSSLINES)
    np.testing.assert_array_equal(survey.samples, 4.0 * np.arange(SAMPLES))
    np.testing.assert_array_equal(survey.live, np.isfinite(expected[:, :, 0]))
    np.testing.assert_array_equal(survey.line("inline", 104), expected[2].T)
    np.testing.assert_array_equal(survey.line("crossline", 325), expected[:, 5].T)


def test_fractions_in_ibm_are_those_that_segyio_reads(tmp_path):
    rng = np.random.default_rng(2)
    values = rng.normal(size=(4, 500)) * 10.0 ** rng.integers(-30, 30, (4, 500))
    path = tmp_path / "a.sgy"
    write_segy(path, values, grid_words((1, 2), (1, 2)), code=1)
    with segyio.open(path, ignore_geometry=True) as file:
        np.testing.assert_array_equal(open_survey(path)[:].reshape(4, 500), file.trace.raw[:])
    np.testing.assert_allclose(open_survey(path)[:].reshape(4, 500), values, rtol=2e-6)


@given(
    start=st.tuples(st.integers(-5, 5000), st.integers(1, 5000)),
    step=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    size=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    seed=st.integers(0, 2**32 - 1),
    gaps=st.integers(0, 6),
    duplicates=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_traces_in_any_order_with_gaps_and_duplicates(tmp_path, start, step, size, seed, gaps, duplicates):
    inlines, crosslines = (range(a, a + s * n, s) for a, s, n in zip(start, step, size, strict=True))
    words = grid_words(inlines, crosslines)
    rng = np.random.default_rng(seed)
    count = len(words[189])
    # The first and the last lines stay, and their neighbours, which tell the steps.
    spare = [k for k in range(count) if k // size[1] > 1 and k % size[1] > 1]
    lost = rng.permutation(spare)[:gaps].astype(int)
    kept = np.setdiff1d(np.arange(count), lost)
    chosen = rng.permutation(np.append(kept, rng.choice(kept, duplicates)))
    words, values = keep(words, np.zeros((count, 6)), chosen)
    values = amplitudes(len(chosen), 6, seed)
    path = tmp_path / "a.sgy"
    write_segy(path, values, words)
    survey = open_survey(path, iline=189, xline=193)
    np.testing.assert_array_equal(survey[:], cube_of(words, values, inlines, crosslines))
    np.testing.assert_array_equal(survey.inlines, inlines)
    assert survey.source.details()["duplicates"] == len(chosen) - len(kept)
    assert survey.live.sum() == len(kept)


def test_a_missing_line_leaves_a_gap(tmp_path):
    words, values = full()
    words, values = keep(words, values, np.flatnonzero(words[189] != 104))
    write_segy(tmp_path / "a.sgy", values, words)
    survey = open_survey(tmp_path / "a.sgy")
    np.testing.assert_array_equal(survey.inlines, INLINES)
    assert np.isnan(survey.line("inline", 104)).all()
    assert not survey.live[2].any()


@pytest.mark.parametrize("pair", [(9, 21), (5, 21), (17, 25), (181, 185), (221, 225)])
def test_numbers_in_other_words_are_found(tmp_path, pair):
    words = grid_words(INLINES, CROSSLINES, pair=pair)
    values = amplitudes(len(words[pair[0]]), SAMPLES)
    zero = {
        place: np.zeros(len(values), int) for place in (189, 193, 201, 205, 213, 217, 221, 225) if place not in pair
    }
    write_segy(tmp_path / "a.sgy", values, {**zero, **words})
    survey = open_survey(tmp_path / "a.sgy")
    assert survey.source.details()["header_words"] == {"inline": pair[0], "crossline": pair[1]}
    np.testing.assert_array_equal(survey[:], cube_of(words, values, INLINES, CROSSLINES, pair))


def test_words_that_are_given_win(tmp_path):
    words, values = full()
    other = {73: words[189][::-1] + 7, 77: words[193]}
    write_segy(tmp_path / "a.sgy", values, {**words, **other})
    survey = open_survey(tmp_path / "a.sgy", iline=73, xline=77)
    np.testing.assert_array_equal(survey[:], cube_of(words, values, INLINES, CROSSLINES)[::-1])
    assert survey.inlines[0] == 107


def test_a_grid_that_is_rotated_in_space_and_sorted_by_crosslines(tmp_path):
    words, values = full()
    x = np.rint(1e6 + 25 * np.cos(0.6) * words[189] - 25 * np.sin(0.6) * words[193])
    y = np.rint(5e6 + 25 * np.sin(0.6) * words[189] + 25 * np.cos(0.6) * words[193])
    expected = cube_of(words, values, INLINES, CROSSLINES)
    order = np.lexsort((words[189], words[193]))
    words, values = keep({**words, 181: x, 185: y}, values, order)
    write_segy(tmp_path / "a.sgy", values, words)
    np.testing.assert_array_equal(open_survey(tmp_path / "a.sgy")[:], expected)
    with segyio.open(tmp_path / "a.sgy") as file:
        assert file.sorting == segyio.TraceSortingFormat.CROSSLINE_SORTING
        np.testing.assert_array_equal(segyio.tools.cube(file).transpose(1, 0, 2), expected)


@pytest.mark.parametrize("place", [21, 17, 1])
def test_a_line_is_a_survey_of_one_inline(tmp_path, place):
    values = amplitudes(40, SAMPLES)
    zero = {word: np.zeros(40, int) for word in (201, 205, 213, 217, 221, 225)}
    write_segy(tmp_path / "a.sgy", values, {**zero, place: np.arange(101, 141)}, revision=(0, 0))
    survey = open_survey(tmp_path / "a.sgy")
    assert survey.shape == (1, 40, SAMPLES)
    np.testing.assert_array_equal(survey.crosslines, np.arange(101, 141))
    np.testing.assert_array_equal(survey.line("inline", 1), values.T)
    forced = open_survey(tmp_path / "a.sgy", iline=0)
    np.testing.assert_array_equal(forced[:], survey[:])


def test_one_inline_of_a_volume(tmp_path):
    words = grid_words([2400], range(1, 50))
    values = amplitudes(49, SAMPLES)
    write_segy(tmp_path / "a.sgy", values, words)
    survey = open_survey(tmp_path / "a.sgy")
    assert survey.inlines.tolist() == [2400]
    np.testing.assert_array_equal(survey.line("inline", 2400), values.T)


@pytest.mark.parametrize("little", [False, True])
def test_revision_2_has_more_headers_and_a_trailer(tmp_path, little):
    words, values = full()
    path = tmp_path / "a.sgy"
    extended = [text_header(["more"]), text_header(["and more"])]
    write_segy(
        path,
        values,
        words,
        little=little,
        revision=(2, 0),
        extra=2,
        extended=extended,
        trailer=1,
        delay=400,
        interval=2000,
    )
    survey = open_survey(path)
    np.testing.assert_array_equal(survey[:], cube_of(words, values, INLINES, CROSSLINES))
    np.testing.assert_array_equal(survey.samples, 400 + 2.0 * np.arange(SAMPLES))
    assert survey.source.layout.revision == "2.0"


def test_a_variable_number_of_text_headers_ends_with_a_stanza(tmp_path):
    words, values = full()
    end = b"((SEG: EndText))".ljust(3200)
    write_segy(tmp_path / "a.sgy", values, words, extended=[text_header(), end], declared_extended=-1)
    np.testing.assert_array_equal(open_survey(tmp_path / "a.sgy")[:], cube_of(words, values, INLINES, CROSSLINES))
    write_segy(tmp_path / "b.sgy", values, words, extended=[text_header()], declared_extended=-1)
    with pytest.raises(ValueError, match="EndText"):
        open_survey(tmp_path / "b.sgy")


def test_the_count_in_the_traces_serves_if_the_binary_header_has_none(tmp_path):
    words, values = full()
    write_segy(tmp_path / "a.sgy", values, words, binary=[(3221, 0, "u2"), (3217, 0, "u2")])
    assert open_survey(tmp_path / "a.sgy").shape[2] == SAMPLES
    assert open_survey(tmp_path / "a.sgy").samples[1] == 4


@pytest.mark.parametrize("ascii_text", [False, True])
def test_text_headers_in_both_codes(tmp_path, ascii_text):
    words, values = full()
    write_segy(tmp_path / "a.sgy", values, words, ascii_text=ascii_text, text=("Line 7, Alaska",))
    details = open_survey(tmp_path / "a.sgy").source.details()
    assert details["text_encoding"] == ("ASCII" if ascii_text else "EBCDIC")
    assert details["text"][0] == "C 1 Line 7, Alaska"


def test_traces_marked_as_dead_are_not_live(tmp_path):
    words, values = full()
    identity = np.ones(len(values), int)
    identity[[0, 12]] = 2
    write_segy(tmp_path / "a.sgy", values, {**words, 29: identity})
    survey = open_survey(tmp_path / "a.sgy")
    assert np.argwhere(~survey.live).tolist() == [[0, 0], [1, 5]]
    np.testing.assert_array_equal(np.isnan(survey[:]).all(2), ~survey.live)


indices = st.one_of(
    st.integers(-6, 5),
    st.builds(slice, st.none() | st.integers(-8, 8), st.none() | st.integers(-8, 8), st.none() | st.integers(1, 4)),
)


TRACES = np.arange(len(INLINES) * len(CROSSLINES))
STORED = {
    "by inlines": TRACES,
    "by crosslines": TRACES.reshape(len(INLINES), -1).T.ravel(),
    "with gaps": TRACES[2:],
    "shuffled with duplicates": np.random.default_rng(3).permutation(np.r_[TRACES, 5, 6, 6]),
}


@pytest.fixture(scope="module", params=list(STORED))
def opened(tmp_path_factory, request):
    words, values = full()
    words, values = keep(words, values, STORED[request.param])
    values = amplitudes(len(values), SAMPLES)
    path = tmp_path_factory.mktemp("segy") / "a.sgy"
    write_segy(path, values, words)
    return open_survey(path), cube_of(words, values, INLINES, CROSSLINES)


@given(
    key=st.lists(indices, min_size=1, max_size=3),
    dots=st.none() | st.integers(0, 3),
    block=st.sampled_from([1, 3 * SAMPLES, 2**17]),
)
@settings(max_examples=60, deadline=None)
def test_a_survey_slices_like_an_array(opened, key, dots, block):
    survey, cube = opened
    if dots is not None:
        key.insert(min(dots, len(key)), Ellipsis)
    with patch.object(segy, "_READ", block):
        found, expected = survey[tuple(key)], cube[tuple(key)]
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_a_survey_is_an_array_on_demand(opened):
    survey, cube = opened
    np.testing.assert_array_equal(np.asarray(survey), cube)
    np.testing.assert_array_equal(survey[2], cube[2])
    for wrong in ((0, 0, 0, 0), (9,), (slice(None, None, -1),), (True,), ("a",), (..., ...), ([0, 1],)):
        with pytest.raises(IndexError):
            survey[wrong]
    with pytest.raises(ValueError, match=r"inline must be one of 100 to 110, step 2, got 103"):
        survey.line("inline", 103)
    with pytest.raises(ValueError, match="unknown direction 'depth'"):
        survey.line("depth", 100)


def test_statistics_are_those_of_the_live_samples(tmp_path):
    words, values = full()
    values = amplitudes(len(values), 100, 3)
    values[5] = 0
    values[6] = 77
    values[7] *= 1000
    write_segy(tmp_path / "a.sgy", values, words)
    found = open_survey(tmp_path / "a.sgy").robust_statistics()
    live = np.delete(values, [5, 6], axis=0)
    assert found.median == np.median(live)
    assert found.deviation == pytest.approx(1.4826 * np.median(np.abs(live - np.median(live))))
    assert [found.low, found.high] == pytest.approx(np.percentile(live, [1, 99]))
    assert found.samples == live.size
    few = open_survey(tmp_path / "a.sgy").robust_statistics(samples=1000)
    assert 600 <= few.samples <= 1500
    assert few.deviation == pytest.approx(found.deviation, rel=0.25)
    write_segy(tmp_path / "b.sgy", 0 * values, words)
    with pytest.raises(ValueError, match="must hold a live trace"):
        open_survey(tmp_path / "b.sgy").robust_statistics()


MEMORY = """
import sys
import numpy as np
from saltzoo.seismic import open_survey
from saltzoo.seismic._segy_formats import decode

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

before = peak()
survey = open_survey(sys.argv[1])
survey.robust_statistics()
survey.line("inline", 3), survey.line("crossline", 400), survey[4:6]
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    path, samples, lines, width = tmp_path / "a.sgy", 1000, 512, 1024
    write_segy(path, amplitudes(1, samples), grid_words([1], [1]))
    trace = np.dtype([("before", "V188"), ("il", ">i4"), ("xl", ">i4"), ("after", "V44"), ("samples", ">f4", samples)])
    with open(path, "r+b") as file:
        file.seek(3600)
        for line in range(lines):
            traces = np.zeros(width, trace)
            traces["il"], traces["xl"] = line + 1, np.arange(width) + 1
            traces["samples"] = amplitudes(1, samples, line)
            file.write(traces.tobytes())
    assert path.stat().st_size > 2**31
    done = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300


@pytest.mark.parametrize("code", [3, 5])
@pytest.mark.parametrize("direction", ["inline", "crossline"])
def test_a_file_that_became_shorter_is_told(tmp_path, direction, code):
    words, values = full()
    path = tmp_path / "a.sgy"
    write_segy(path, values, words, code=code)
    survey = open_survey(path)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 1)
    last = {"inline": INLINES[-1], "crossline": CROSSLINES[-1]}[direction]
    with pytest.raises(ValueError, match="has become shorter since it was opened"):
        survey.line(direction, last)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems read by seek and readinto")
@pytest.mark.parametrize("most", [1, 100])
def test_what_the_system_hands_out_in_pieces_is_read_on(tmp_path, monkeypatch, most):
    words, values = full()
    write_segy(tmp_path / "a.sgy", values, words)
    survey, preadv = open_survey(tmp_path / "a.sgy"), segy.os.preadv

    def pieces(number, buffers, place):
        return preadv(number, [buffers[0][:most]], place)

    expected = survey[:]
    monkeypatch.setattr(segy.os, "preadv", pieces)
    np.testing.assert_array_equal(survey[:], expected)
    np.testing.assert_array_equal(survey.line("crossline", 325), expected[:, 5].T)


def test_reading_warns_of_nothing(tmp_path):
    words, values = full()
    write_segy(tmp_path / "a.sgy", values * 1e30, words, code=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_survey(tmp_path / "a.sgy")[:]


@pytest.mark.parametrize("pair", [(189, 193), (9, 21)])
def test_opening_passes_over_the_headers_once_if_the_words_are_the_standards(tmp_path, monkeypatch, pair):
    words, values = full()
    write_segy(tmp_path / "a.sgy", values, {pair[0]: words[189], pair[1]: words[193], 37: 0 * words[189]})
    passes, blocks = [], _segy_headers.Layout.blocks
    monkeypatch.setattr(_segy_headers.Layout, "blocks", lambda layout: passes.append(1) or blocks(layout))
    survey = open_survey(tmp_path / "a.sgy", iline=pair[0], xline=pair[1])
    assert len(passes) == (1 if pair == (189, 193) else 2)
    assert survey.shape == (len(INLINES), len(CROSSLINES), SAMPLES)


@pytest.mark.parametrize("middle", [False, True])
def test_ibm_numbers_of_every_exponent_are_those_of_the_definition(middle):
    """Fractions of integers give the exact number, and one rounding that of float32, infinities and tiny ones too."""
    rng = np.random.default_rng(0)
    tops = np.r_[39:102, 167:230] if middle else np.arange(256)  # where float32 needs no second step; all
    bits = ((tops[:, None] << 24) | rng.integers(0, 2**24, (len(tops), 40))).astype(np.uint32)
    bits[:, :3] = (tops[:, None] << 24) | np.array([0, 1, 2**24 - 1])
    expected = [
        (-1 if one >> 31 else 1) * Fraction(one & 0xFFFFFF, 2**24) * Fraction(16) ** ((one >> 24 & 127) - 64)
        for one in bits.ravel().tolist()
    ]
    with np.errstate(over="ignore"):
        rounded = np.array([float(one) for one in expected]).astype(np.float32).reshape(bits.shape)
    for stored in (bits.astype(">u4"), bits.astype("<u4")[:, ::2]):
        found = decode(stored, 1)
        wanted = rounded[:, :: 40 // stored.shape[1]]
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(np.signbit(found), stored >> 31 == 1)  # zeros have a sign, too
        assert found.dtype == np.float32
