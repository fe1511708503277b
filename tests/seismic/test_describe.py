"""describe, and `saltzoo info` of a survey."""

import json
import shlex

import numpy as np
import pytest
import zarr
from _segy_files import amplitudes, grid_words, keep, write_segy

from saltzoo.cli.main import main
from saltzoo.seismic import describe, description_lines, is_survey, open_survey


@pytest.fixture
def path(tmp_path):
    words = grid_words(range(100, 110, 2), range(7, 13))
    words, values = keep(words, amplitudes(30, 20), np.append(np.arange(2, 30), 5))
    words[29] = np.where(np.arange(29) == 4, 2, 1)
    write_segy(tmp_path / "a.sgy", values, words, code=3, delay=-40, text=("", "Line of a test"))
    return tmp_path / "a.sgy"


def test_the_table_and_the_lines(path):
    survey = open_survey(path)
    found, statistics = describe(survey), survey.robust_statistics()
    assert json.loads(json.dumps(found)) == found
    assert found["shape"] == [5, 6, 20]
    assert found["inlines"] == {"first": 100, "last": 108, "step": 2, "count": 5}
    assert found["samples"] == {"first": -40, "last": 36, "step": 4, "count": 20, "unit": "ms"}
    assert found["traces"] == {"stored": 29, "live": 27, "without": 3, "dead": 1, "duplicates": 1}
    assert found["amplitudes"]["deviation"] == statistics.deviation
    assert found["header_words"] == {"inline": 189, "crossline": 193}
    lines = description_lines(found)
    assert len(lines) == 10
    assert lines[1] == "format       SEG-Y 1.0, int16 (3), big-endian"
    assert lines[3] == "inlines      100 to 108, step 2"
    assert lines[5] == "samples      -40 to 36, step 4 ms"
    assert lines[6] == "traces       29 stored, 27 live of 30 places, 1 marked as dead, 1 duplicates"
    assert lines[8] == "header words inline: byte 189; crossline: byte 193"
    assert lines[9] == "text header  EBCDIC: Line of a test"


def test_the_command_prints_them(path, capsys):
    assert main(["info", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == description_lines(describe(open_survey(path)))
    assert main(["info", str(path), "--json", "--iline", "189", "--xline", "193"]) == 0
    assert json.loads(capsys.readouterr().out) == describe(open_survey(path))


def test_a_refusal_has_the_status_2_and_names_a_flag_that_works(path, capsys):
    raw = bytearray(path.read_bytes())
    raw[3224:3226] = b"\0\0"
    path.write_bytes(bytes(raw))
    assert main(["info", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--sample-format CODE" in printed.err
    assert main(["info", str(path), *shlex.split("--sample-format 3")]) == 0


def test_a_store_of_zarr(tmp_path, capsys):
    zarr.create_array(tmp_path / "a.zarr", data=amplitudes(12, 8).reshape(3, 4, 8), chunks=(1, 2, 3))
    assert main(["info", str(tmp_path / "a.zarr")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[1] == "format       zarr 3, float64, chunks 1 x 2 x 3"


def test_other_names_are_models(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saltnet_s").mkdir()
    assert not is_survey("saltnet_s")
    assert main(["info", "saltnet_s"]) == 0
    assert main(["info", "saltnet_s", "--iline", "9"]) == 1
    assert "leave out --iline" in capsys.readouterr().err
    assert main(["info", "no_such.sgy"]) == 1
    assert "No such file" in capsys.readouterr().err
