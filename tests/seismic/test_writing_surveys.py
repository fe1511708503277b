"""write_like and open_like for SEG-Y: headers and values, read back with segyio and as bytes."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import segyio
from _segy_files import amplitudes, grid_words, keep, text_header, write_segy

from saltzoo.seismic import open_like, open_survey, write_like
from saltzoo.seismic.segy_writer import add_notes

INLINES, CROSSLINES, SAMPLES = range(10, 16), range(20, 27), 25
LOST = [0, 8, 9, 30, 41]


def source(path, *, missing=False, shuffled=False, **options):
    words = grid_words(INLINES, CROSSLINES)
    count = len(words[189])
    chosen = np.delete(np.arange(count), LOST) if missing else np.arange(count)
    if shuffled:
        chosen = np.random.default_rng(3).permutation(np.append(chosen, [5, 5, 12]))
    words, values = keep(words, amplitudes(count, SAMPLES), chosen)
    words[29] = np.where(np.arange(len(chosen)) % 11 == 4, 2, 1)
    return words, write_segy(path, values, words, **options)


def probabilities(seed=0):
    values = np.random.default_rng(seed).random((len(INLINES), len(CROSSLINES), SAMPLES), dtype=np.float32)
    values[1, 2, 3:5] = np.nan
    return values


def expected_of(words, values):
    """Brute force: the value of each trace's place; 0 for NaN and in dead traces."""
    rows = [values[i - INLINES[0], x - CROSSLINES[0]] for i, x in zip(words[189], words[193], strict=True)]
    return np.where(words[29][:, None] == 2, 0, np.nan_to_num(np.array(rows, np.float32)))


def records(path, samples, code_bytes, extra=0, first=3600, count=-1):
    dtype = np.dtype([("header", "u1", 240 * (1 + extra)), ("samples", f"V{samples * code_bytes}")])
    return np.fromfile(path, dtype, count, offset=first)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("little", [False, True])
@pytest.mark.parametrize("code", [1, 2, 3, 5, 8])
def test_headers_stay_and_samples_have_their_own_format(tmp_path, code, little, missing, mask):
    words, headers = source(tmp_path / "a.sgy", code=code, little=little, missing=missing, shuffled=missing)
    values = probabilities() > 0.5 if mask else probabilities()
    out = write_like(open_survey(tmp_path / "a.sgy"), tmp_path / "b.sgy", values, mask=mask, notes=["salt of a model"])
    expected = expected_of(words, values)
    endian = "little" if little else "big"
    with segyio.open(out, ignore_geometry=True, endian=endian) as file:
        assert int(file.format) == (8 if mask else 5)
        np.testing.assert_array_equal(file.trace.raw[:], expected)
        with segyio.open(tmp_path / "a.sgy", ignore_geometry=True, endian=endian) as given:
            assert file.tracecount == given.tracecount
            differing = {key for key in file.bin if file.bin[key] != given.bin[key]}
            assert differing == ({segyio.BinField.Format} if code != (8 if mask else 5) else set())
            for k in range(file.tracecount):
                assert dict(file.header[k]) == dict(given.header[k])
        assert b"salt of a model" in bytes(file.text[0])
    read = records(out, SAMPLES, 1 if mask else 4)
    np.testing.assert_array_equal(read["header"], headers)
    assert os.path.getsize(out) == 3600 + len(headers) * (240 + SAMPLES * (1 if mask else 4))
    again = open_survey(out)
    live = open_survey(tmp_path / "a.sgy").live
    np.testing.assert_array_equal(again.live, live)
    np.testing.assert_array_equal(again[:][live], np.nan_to_num(values.astype(np.float32))[live])


def test_revision_2_keeps_additional_headers_extended_text_and_trailer(tmp_path):
    options = {"revision": (2, 0), "extra": 2, "extended": [text_header(["more"])], "trailer": 1}
    _words, headers = source(tmp_path / "a.sgy", code=3, **options)
    out = write_like(open_survey(tmp_path / "a.sgy"), tmp_path / "b.sgy", probabilities())
    read = records(out, SAMPLES, 4, extra=2, first=6800, count=len(headers))
    np.testing.assert_array_equal(read["header"], headers)
    given, written = (tmp_path / "a.sgy").read_bytes(), out.read_bytes()
    assert written[3600:6800] == given[3600:6800]
    assert written[-3200:] == given[-3200:]
    assert written[:3200] == given[:3200]
    differing = [place + 1 for place in range(3200, 3600) if written[place] != given[place]]
    assert differing == [3226]


def test_slabs_in_any_order_make_the_same_file(tmp_path):
    source(tmp_path / "a.sgy", missing=True)
    survey, values = open_survey(tmp_path / "a.sgy"), probabilities()
    write_like(survey, tmp_path / "b.sgy", values)
    with open_like(survey, tmp_path / "c.sgy") as volume:
        for first in (4, 0, 2):
            assert not (tmp_path / "c.sgy").exists()
            volume.write(first, values[first : first + 2])
    assert (tmp_path / "c.sgy").read_bytes() == (tmp_path / "b.sgy").read_bytes()


def test_a_survey_is_a_volume_for_the_writer(tmp_path):
    _words, _ = source(tmp_path / "a.sgy", code=3)
    survey = open_survey(tmp_path / "a.sgy")
    write_like(survey, tmp_path / "b.sgy", survey)
    np.testing.assert_array_equal(open_survey(tmp_path / "b.sgy")[:], survey[:])


def test_nothing_is_left_of_a_file_that_is_not_complete(tmp_path):
    source(tmp_path / "a.sgy")
    survey, values = open_survey(tmp_path / "a.sgy"), probabilities()
    with (
        pytest.raises(ValueError, match="all 6 inlines must be written, got 4 fewer"),
        open_like(survey, tmp_path / "b.sgy") as volume,
    ):
        volume.write(0, values[:2])
    with pytest.raises(ZeroDivisionError), open_like(survey, tmp_path / "b.sgy") as volume:
        volume.write(1 // 0, values)
    assert os.listdir(tmp_path) == ["a.sgy"]


KILLED = """
import os, signal, sys
import numpy as np
from saltzoo.seismic import open_like, open_survey
survey = open_survey(sys.argv[1])
with open_like(survey, sys.argv[2]) as volume:
    volume.write(0, np.zeros((2, *survey.shape[1:]), np.float32))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_kill_leaves_no_file_of_that_name(tmp_path):
    source(tmp_path / "a.sgy")
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a.sgy", tmp_path / "b.sgy"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "b.sgy").exists()


def test_what_cannot_be_written_is_refused(tmp_path):
    source(tmp_path / "a.sgy")
    survey, values = open_survey(tmp_path / "a.sgy"), probabilities()
    before = (tmp_path / "a.sgy").read_bytes()
    cases = [
        ("a.sgy", values, {"overwrite": True}, "path must differ from the survey's"),
        ("b.tif", values, {}, r"path must end with .sgy, .segy, .zarr for a.sgy, got 'b.tif'"),
        ("b.sgy", values[:2], {}, r"values must have the survey's shape \(6, 7, 25\), got \(2, 7, 25\)"),
        ("b.sgy", values > 0, {}, "values must be floating point, got bool: pass mask=True"),
        ("b.sgy", values, {"mask": True}, "values of a mask must be bool or 0 to 127, got float32"),
        ("b.sgy", np.full(survey.shape, 200), {"mask": True}, "values of a mask must be bool or 0 to 127, got int64"),
    ]
    for name, given, options, message in cases:
        with pytest.raises(ValueError, match=message):
            write_like(survey, tmp_path / name, given, **options)
    (tmp_path / "c.sgy").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write_like(survey, tmp_path / "c.sgy", values)
    assert (tmp_path / "c.sgy").read_bytes() == b"mine"
    write_like(survey, tmp_path / "c.sgy", values, overwrite=True)
    assert (tmp_path / "a.sgy").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.sgy", "c.sgy"]
    with open_like(survey, tmp_path / "d.sgy") as volume:
        with pytest.raises(ValueError, match=r"must be \(inline, 7, 25\) within 6 inlines, got \(2, 7, 25\) at 5"):
            volume.write(5, values[:2])
        volume.write(0, values)


@pytest.mark.parametrize("ascii_text", [False, True])
def test_notes_go_into_blank_lines(ascii_text):
    text = text_header([f"line {k}" if k not in (20, 30) else "" for k in range(40)], ascii_text)
    code = "latin-1" if ascii_text else "cp037"
    cut = lambda raw: [raw.decode(code)[k : k + 80] for k in range(0, 3200, 80)]  # noqa: E731
    two = cut(add_notes(text, ["first", "second" * 20]))
    assert two[20] == f"C21 {'first':<76}"
    assert two[30] == f"C31 {('second' * 20)[:76]}"
    assert [line for k, line in enumerate(two) if k not in (20, 30)] == [
        line for k, line in enumerate(cut(text)) if k not in (20, 30)
    ]
    three = cut(add_notes(text, ["first", "second", "third"]))
    assert [three[k][4:].strip() for k in (20, 30, 37, 38)] == ["first", "second", "third", "line 38"]
    assert add_notes(text, []) == text
    assert len(add_notes(text, ["x"] * 99)) == 3200
    assert len(add_notes(bytes(3200), ["x"])) == 3200
