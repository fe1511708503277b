"""The submission file: its lines, and that it is complete or absent."""

import csv
import os
import stat

import numpy as np
import pytest

from saltzoo.data import rle_decode, write_submission

MASKS = np.random.default_rng(0).random((3, 5, 4)) < [[[0.0]], [[0.5]], [[1.0]]]
IDS = ["b", "a", "c"]


def test_the_lines_hold_ids_and_runs_in_order(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(path, IDS, MASKS)
    lines = path.read_bytes().split(b"\n")
    assert lines[0] == b"id,rle_mask"
    assert lines[1] == b"b,"
    assert lines[3:] == [b"c,1 20", b""]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == IDS
    np.testing.assert_array_equal(rle_decode([row["rle_mask"] for row in rows], (5, 4)), MASKS)
    assert os.listdir(tmp_path) == ["submission.csv"]


def test_a_file_without_tiles_has_a_header(tmp_path):
    write_submission(str(tmp_path / "empty.csv"), [], np.zeros((0, 5, 4), bool))
    assert (tmp_path / "empty.csv").read_text() == "id,rle_mask\n"


def test_others_may_read_the_file_as_any_other(tmp_path):
    write_submission(tmp_path / "a.csv", IDS, MASKS)
    (tmp_path / "b.csv").write_text("")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.csv", "b.csv")]
    assert modes[0] == modes[1]


def test_an_existing_file_is_kept_unless_overwritten(tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"submission\.csv exists: choose another path, or pass overwrite=True"):
        write_submission(path, IDS, MASKS)
    assert path.read_text() == "mine"
    write_submission(path, IDS, MASKS, overwrite=True)
    assert path.read_text().startswith("id,rle_mask\nb,\n")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "submission.csv"
    path.write_text("old")

    def fail(*_args, **_keywords):
        raise OSError("no space left")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space left"):
        write_submission(path, IDS, MASKS, overwrite=True)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["submission.csv"]


@pytest.mark.parametrize(
    ("ids", "masks", "error"),
    [
        (IDS[:2], MASKS, r"one mask for each of 2 ids, got \(3, 5, 4\)"),
        (IDS, MASKS[0], r"got \(5, 4\): predict every tile once"),
        (["a", "b", "a"], MASKS, r"ids must be unique, got 'a' twice"),
        (["a", "b,c", "d"], MASKS, r"without commas, .* got 'b,c' at position 1"),
        (["a", "", "d"], MASKS, r"got '' at position 1"),
        (["a", 7, "d"], MASKS, r"got 7 at position 1"),
    ],
)
def test_input_that_makes_no_table_is_refused(tmp_path, ids, masks, error):
    with pytest.raises(ValueError, match=error):
        write_submission(tmp_path / "submission.csv", ids, masks)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_and_other_types_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere of a\.csv does not exist: create it"):
        write_submission(tmp_path / "nowhere" / "a.csv", IDS, MASKS)
    with pytest.raises(TypeError, match="masks must be bool, got float64"):
        write_submission(tmp_path / "a.csv", IDS, MASKS * 1.0)
    assert os.listdir(tmp_path) == []


def test_a_link_to_nowhere_is_not_replaced(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(FileExistsError, match=r"link\.csv exists"):
        write_submission(tmp_path / "link.csv", ["a"], np.zeros((1, 3, 3), bool))
    assert (tmp_path / "link.csv").is_symlink()


def test_a_folder_and_one_string_of_ids_are_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder: give the path of a CSV file"):
        write_submission(tmp_path, ["a"], np.zeros((1, 3, 3), bool), overwrite=True)
    with pytest.raises(TypeError, match="ids must be a sequence of strings, got 'ab'"):
        write_submission(tmp_path / "a.csv", "ab", np.zeros((2, 3, 3), bool))
    assert list(tmp_path.iterdir()) == []
