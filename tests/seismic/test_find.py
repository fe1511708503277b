"""find_pictures: lists, folders and shell patterns."""

import os
from pathlib import Path

import pytest

from saltzoo.seismic import SUFFIXES, find_pictures


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.TIF", "c.npy", ".hidden.png", "notes.txt", "deep/d.png", "e[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_a_folder_stands_for_its_pictures(folder):
    assert names(find_pictures([folder])) == ["a.TIF", "b.png", "c.npy", "e[1].png"]


def test_patterns_stand_for_files(folder):
    assert names(find_pictures([f"{folder}/*.png"])) == ["b.png", "e[1].png"]
    assert names(find_pictures([f"{folder}/**/*.png"])) == ["b.png", "d.png", "e[1].png"]
    assert names(find_pictures([f"{folder}/*.txt"])) == ["notes.txt"]


def test_a_file_with_brackets_stands_for_itself(folder):
    assert names(find_pictures([folder / "e[1].png"])) == ["e[1].png"]


def test_a_file_that_is_named_twice_is_found_once_in_the_first_place(folder, monkeypatch):
    monkeypatch.chdir(folder)
    os.symlink(folder / "b.png", folder / "z.png")
    assert names(find_pictures(["c.npy", folder, "./b.png", f"{folder}/*.npy"])) == [
        "c.npy",
        "a.TIF",
        "b.png",
        "e[1].png",
    ]


def test_a_missing_file_stands_for_itself(tmp_path):
    assert find_pictures([tmp_path / "none.png"]) == [tmp_path / "none.png"]


def test_folders_and_patterns_without_pictures_are_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no picture: give a folder of files \.bmp"):
        find_pictures([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match=r"no file matches '.*\*\.jpg': check the pattern"):
        find_pictures([f"{folder}/*.jpg"])


def test_suffixes_are_in_lower_case():
    assert {suffix.lower() for suffix in SUFFIXES} == SUFFIXES
    assert all(Path(f"a{suffix}").suffix == suffix for suffix in SUFFIXES)
