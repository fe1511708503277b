"""SEG-Y files that open_survey refuses: each message names the cause and what to pass."""

import numpy as np
import pytest
from _segy_files import TYPES, amplitudes, grid_words, ibm, write_segy

from saltzoo.seismic import open_survey

WORDS = grid_words(range(1, 9), range(1, 11))
VALUES = amplitudes(80, 60, largest=100)


def fine(count, samples, seed=0):
    """Amplitudes that are no whole numbers, heavy in the tails."""
    rng = np.random.default_rng(seed)
    return amplitudes(count, samples, seed, largest=10_000) * rng.lognormal(size=(count, 1)) * 0.01


def test_the_file_itself_opens(tmp_path):
    write_segy(tmp_path / "a.sgy", VALUES, WORDS)
    assert open_survey(tmp_path / "a.sgy").shape == (8, 10, 60)


@pytest.mark.parametrize("cut", [1, 240 * 1 + 240 - 1, 100])
def test_a_file_that_ends_within_a_trace(tmp_path, cut):
    path = tmp_path / "a.sgy"
    write_segy(path, VALUES, WORDS)
    raw = path.read_bytes()
    path.write_bytes(raw[:-cut])
    with pytest.raises(ValueError, match=rf"ends within a trace: after 79 traces .* {480 - cut} bytes of 480 are left"):
        open_survey(path)


def test_a_file_without_traces(tmp_path):
    path = tmp_path / "a.sgy"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty: copy the file again"):
        open_survey(path)
    path.write_bytes(bytes(3600))
    with pytest.raises(ValueError, match="has 3600 bytes, fewer than the headers"):
        open_survey(path)
    with pytest.raises(FileNotFoundError):
        open_survey(tmp_path / "none.sgy")


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "a.sgy"
    path.write_bytes(b"P5 100 100 255\n" + bytes(10_000))
    with pytest.raises(ValueError, match=r"no SEG-Y file: the format code at byte 3225 must be one of 1, 2.*got 0"):
        open_survey(path)
    write_segy(path, VALUES, WORDS, binary=[(3225, 4, "i2")])
    with pytest.raises(ValueError, match=r"must be one of .*, got 4: pass sample_format=CODE"):
        open_survey(path)


def test_a_format_code_that_is_given_wins(tmp_path):
    path = tmp_path / "a.sgy"
    write_segy(path, VALUES, WORDS, binary=[(3225, 0, "i2")])
    with pytest.raises(ValueError, match="sample_format=CODE"):
        open_survey(path)
    np.testing.assert_array_equal(open_survey(path, sample_format=5)[:].reshape(80, 60), VALUES)
    write_segy(path, VALUES, WORDS, binary=[(3225, 0, "i2")], little=True)
    np.testing.assert_array_equal(open_survey(path, sample_format=5)[:].reshape(80, 60), VALUES)


@pytest.mark.parametrize("scale", [1e-6, 1, 1e5])
def test_ibm_that_is_declared_ieee_and_the_reverse(tmp_path, scale):
    path, values = tmp_path / "a.sgy", fine(80, 60) * scale
    for true, declared in ((1, 5), (5, 1)):
        write_segy(path, values, WORDS, code=true)
        open_survey(path)
        write_segy(path, values, WORDS, code=true, binary=[(3225, declared, "i2")])
        with pytest.raises(ValueError, match=rf"seem to be .*kurtosis .* pass sample_format={true} "):
            open_survey(path)
        np.testing.assert_allclose(open_survey(path, sample_format=true)[:].reshape(80, 60), values, rtol=1e-5)
        assert open_survey(path, sample_format=declared).shape == (8, 10, 60)


@pytest.mark.parametrize("kind", ["noise", "sine", "spikes", "few", "velocities", "zeros"])
@pytest.mark.parametrize("code", [1, 5])
def test_samples_in_the_declared_format_pass(tmp_path, code, kind):
    rng = np.random.default_rng(5)
    values = {
        "noise": rng.normal(size=(80, 60)),
        "sine": np.sin(np.arange(60) / 3 + rng.uniform(0, 6, (80, 1))),
        "spikes": np.where(rng.random((80, 60)) > 0.9, rng.standard_cauchy((80, 60)), 0.01 * rng.normal(size=(80, 60))),
        "few": rng.integers(-2, 3, (80, 60)).astype(float),
        "velocities": rng.uniform(2400, 4000, (80, 60)),
        "zeros": np.zeros((80, 60)),
    }[kind]
    for little in (False, True):
        write_segy(tmp_path / "a.sgy", values, WORDS, code=code, little=little)
        assert open_survey(tmp_path / "a.sgy").shape == (8, 10, 60)


@pytest.mark.parametrize("code", [1, 2, 3, 5])
def test_samples_in_the_other_byte_order(tmp_path, code):
    path = tmp_path / "a.sgy"
    values = fine(80, 60) if code in (1, 5) else amplitudes(80, 60, largest=10_000)
    write_segy(path, values, WORDS, code=code)
    raw = bytearray(path.read_bytes())
    width = np.dtype(TYPES[code]).itemsize
    traces = np.frombuffer(raw, np.dtype([("header", "V240"), ("samples", f">u{width}", 60)]), offset=3600)
    swapped = traces.copy()
    swapped["samples"] = traces["samples"].byteswap()
    path.write_bytes(bytes(raw[:3600]) + swapped.tobytes())
    with pytest.raises(ValueError, match=r"seem to be in little-endian byte order, but its headers are big-endian"):
        open_survey(path)


def test_prestack(tmp_path):
    path = tmp_path / "a.sgy"
    words = {place: np.repeat(numbers, 4) for place, numbers in WORDS.items()}
    offsets = np.tile([100, 200, 300, 400], 80)
    write_segy(path, np.repeat(VALUES, 4, 0), {**words, 37: offsets})
    message = "prestack: 320 traces at 80 places, with offsets 100 to 400 at byte 37: stack it"
    with pytest.raises(ValueError, match=message):
        open_survey(path)
    with pytest.raises(ValueError, match=message):
        open_survey(path, iline=189, xline=193)
    cdp = np.repeat(np.arange(1, 81), 4)
    write_segy(path, np.repeat(VALUES, 4, 0), {21: cdp, 37: offsets, 189: 0 * cdp, 193: 0 * cdp})
    with pytest.raises(ValueError, match="prestack"):
        open_survey(path)


def test_more_cells_than_ten_times_the_traces(tmp_path):
    path = tmp_path / "a.sgy"
    numbers = np.arange(1, 81)
    write_segy(path, VALUES, {189: numbers, 193: numbers[::-1], 21: 0 * numbers})
    with pytest.raises(
        ValueError, match=r"bytes 189 and 193 .* must number a grid, got 6400 cells for 80 traces: pass"
    ):
        open_survey(path, iline=189, xline=193)


def test_no_grid_lists_the_words_that_look_like_one(tmp_path):
    path = tmp_path / "a.sgy"
    zero = np.zeros(80, int)
    none = dict.fromkeys((181, 185, 189, 193, 197, *range(201, 238, 4)), zero)
    write_segy(path, VALUES, {**none, 73: WORDS[189], 77: WORDS[193]})
    with pytest.raises(ValueError, match=r"byte 73 .source x. 1 to 8, 8 values; byte 77 .source y. 1 to 10, 10 values"):
        open_survey(path)
    assert open_survey(path, iline=73, xline=77).shape == (8, 10, 60)
    assert open_survey(path, iline=0).shape == (1, 80, 60)


def test_options_that_are_wrong(tmp_path):
    path = tmp_path / "a.sgy"
    write_segy(path, VALUES, WORDS)
    with pytest.raises(ValueError, match="iline and xline must be given together, got 189 and None"):
        open_survey(path, iline=189)
    with pytest.raises(ValueError, match="iline must be the first byte of a header word, 1 to 237, got 238"):
        open_survey(path, iline=238, xline=193)
    with pytest.raises(ValueError, match="unknown sample_format 7"):
        open_survey(path, sample_format=7)
    with pytest.raises(ValueError, match="unknown byte_order 'middle'"):
        open_survey(path, byte_order="middle")
    with pytest.raises(ValueError, match=r"byte 189 .* must number the traces of a 2-D line, each once, got 8 numbers"):
        open_survey(path, iline=0, xline=189)


def test_the_bits_of_ibm_are_the_published_ones():
    """-118.625 is the usual example of the format, and 1 is 1/16 x 16."""
    assert ibm(-118.625) == 0xC276A000
    assert ibm(1.0) == 0x41100000
