"""The benchmark of surveys: both readers agree, and a large file takes little memory."""

import sys
from functools import partial

import pytest

pytest.importorskip("segyio")


def test_both_readers_are_timed_and_agree(load_benchmark, tmp_path, monkeypatch):
    surveys = load_benchmark("surveys")
    monkeypatch.setattr(surveys, "alternate", partial(surveys.alternate, turn_s=0))
    rows = surveys.reading_rows(tmp_path, (4, 6, 30), 1)
    ways = ("open", "open, all headers", "inline", "crossline", "slab of inlines", "block of crosslines")
    expected = [(what, code, who) for code in surveys.CODES for what in ways for who in ("segyio", "saltzoo")]
    assert [(row["what"], row["format"], row["contender"]) for row in rows] == expected
    assert all(row["ms"] > 0 and row["rounds"] == 1 for row in rows)
    assert {row["ratio"] for row in rows if row["contender"] == "segyio"} == {1.0}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_memory_is_told_in_both_parts(load_benchmark):
    row = load_benchmark("measure.survey_memory").memory_row((4, 8, 40))
    assert row["imports_anonymous_mib"] + row["imports_file_mib"] == pytest.approx(row["imports_mib"], rel=0.1)
    assert row["imports_anonymous_mib"] <= row["peak_anonymous_mib"] < row["imports_anonymous_mib"] + 100
    assert row["peak_mib"] <= row["peak_anonymous_mib"] + row["peak_file_mib"] + 5
