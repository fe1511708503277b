"""`saltzoo mosaic`: tiles of a section in three layouts, and what is refused."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from saltzoo.cli import main
from saltzoo.data import synthetic_tile, synthetic_tiles

SIDE = 101
SECTION = synthetic_tile(3, size=3 * SIDE)[0][: 2 * SIDE]  # 2 x 3 tiles
PLACES = {f"r{row}c{column}": (row, column) for row in range(2) for column in range(3)}


def cut(place):
    row, column = place
    return SECTION[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def download(folder):
    """Tiles of the first column are labelled, the others are not."""
    for name, place in PLACES.items():
        split = "train" if place[1] == 0 else "test"
        save(cut(place), folder / split / "images" / f"{name}.png")
        if split == "train":
            save(np.zeros((SIDE, SIDE), np.uint8), folder / split / "masks" / f"{name}.png")


def plain(folder):
    for name, place in PLACES.items():
        save(cut(place), folder / f"{name}.png")


def unlabelled(folder):
    for name, place in PLACES.items():
        save(cut(place), folder / "images" / f"{name}.png")


def run(capsys, *words):
    status = main(["mosaic", *map(str, words)])
    done = capsys.readouterr()
    return status, done.out, done.err


@pytest.mark.parametrize("layout", [download, plain, unlabelled])
def test_a_section_is_put_together_again(capsys, tmp_path, layout):
    layout(tmp_path / "in")
    status, out, err = run(capsys, tmp_path / "in", "--out", tmp_path / "out", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["tiles"], found["mosaics"], found["joined"], found["largest"]) == (6, 1, 6, 6)
    assert found["pictures"] == [str(tmp_path / "out" / "mosaic_0.png")]
    with open(tmp_path / "out" / "mosaics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"]: (int(row["row"]), int(row["column"])) for row in rows} == PLACES
    assert {row["mosaic"] for row in rows} == {"0"}
    with Image.open(tmp_path / "out" / "mosaic_0.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), SECTION)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mosaic_0.png", "mosaics.csv"]


def test_files_that_are_there_are_kept_unless_overwritten(capsys, tmp_path):
    plain(tmp_path / "in")
    words = [tmp_path / "in", "--out", tmp_path / "out"]
    save(np.zeros((4, 4), np.uint8), tmp_path / "out" / "mosaic_3.png")
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "mosaic_3.png. Choose another --out, or replace with --overwrite" in " ".join(err.split())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mosaic_3.png"]
    status, out, _ = run(capsys, *words, "--overwrite")
    assert (status, out) == (
        0,
        f"{tmp_path / 'out' / 'mosaics.csv'}: 6 of 6 tiles in 1 mosaics, the largest of 6 tiles; pictures: 1\n",
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mosaic_0.png", "mosaics.csv"]


def test_single_tiles_and_a_count_of_none_draw_nothing(capsys, tmp_path):
    for name, image in zip("ab", synthetic_tiles(2, seed=5).images, strict=True):
        save(image, tmp_path / "in" / f"{name},1.png")
    status, out, _ = run(capsys, tmp_path / "in", "--out", tmp_path / "out", "--method", "ratio", "--json")
    assert status == 0
    assert (json.loads(out)["largest"], json.loads(out)["pictures"]) == (1, [])
    with open(tmp_path / "out" / "mosaics.csv", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["id", "a,1", "b,1"]
    plain(tmp_path / "section")
    assert run(capsys, tmp_path / "section", "--out", tmp_path / "none", "--count", 0)[0] == 0
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["mosaics.csv"]


def test_what_is_wrong_writes_nothing(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    save(cut((0, 0)), tmp_path / "mixed" / "a.png")
    save(SECTION, tmp_path / "mixed" / "b.png")
    for folder, status, message in (
        ("gone", 2, "does not exist or is a file"),
        ("empty", 1, "holds no picture"),
        ("mixed", 1, "tiles must be of one size, got 202 x 303 in b.png and 101 x 101 in a.png"),
    ):
        found, _, err = run(capsys, tmp_path / folder, "--out", tmp_path / "out")
        assert (found, message in " ".join(err.split())) == (status, True), err
    assert not (tmp_path / "out").exists()
