"""Writers: files of the right kind and size, whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from saltzoo.seismic import Lazy, lazy, read_mask, write_mask, write_picture, write_probabilities

RNG = np.random.default_rng(0)
MASK = RNG.random((30, 40)) > 0.5
PROBABILITIES = RNG.random((30, 40), dtype=np.float32)
WRITERS = [
    (write_mask, "a.png", MASK),
    (write_picture, "a.png", RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)),
    (write_probabilities, "a.tif", PROBABILITIES),
    (write_probabilities, "a.npy", PROBABILITIES),
]


def test_masks_are_0_and_255(tmp_path):
    path = write_mask(tmp_path / "new" / "a.png", MASK)
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(picture), MASK * 255)
    np.testing.assert_array_equal(read_mask(path)[0], MASK)


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_probabilities_come_back_exactly(tmp_path, suffix):
    values = PROBABILITIES.copy()
    values[3, 4] = np.nan
    path = write_probabilities(tmp_path / f"a.{suffix}", values.astype(np.float64))
    if suffix == "npy":
        found = np.load(path)
    else:
        with Image.open(path) as picture:
            found = np.asarray(picture)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (1, 1)])
def test_pictures_come_back_exactly(tmp_path, shape):
    picture = RNG.integers(0, 256, shape, dtype=np.uint8)
    with Image.open(write_picture(tmp_path / "a.png", picture)) as found:
        np.testing.assert_array_equal(np.asarray(found), picture)


@pytest.mark.parametrize("samples", [1, 37, 100, 2**22])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_strips_of_any_size_give_the_same_picture(tmp_path, monkeypatch, samples, channels):
    monkeypatch.setattr(lazy, "_STRIP", samples)
    picture = RNG.integers(0, 256, (31, 40, *channels), dtype=np.uint8)
    with Image.open(write_picture(tmp_path / "a.png", picture)) as found:
        found.verify()
    with Image.open(tmp_path / "a.png") as found:
        np.testing.assert_array_equal(np.asarray(found), picture)
    for suffix in ("tif", "npy"):
        values = RNG.random((31, 40), dtype=np.float32)
        path = write_probabilities(tmp_path / f"a.{suffix}", Lazy(lambda part: part + 1, values, dtype=np.float32))
        if suffix == "npy":
            found = np.load(path)
        else:
            with Image.open(path) as opened:
                found = np.asarray(opened)
        np.testing.assert_array_equal(found, values + 1)


def test_a_picture_is_read_in_strips(tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "_STRIP", 400)
    read = []
    values = RNG.random((100, 40), dtype=np.float32)

    def seen(part):
        read.append(part.shape)
        return part > 0.5

    mask = Lazy(seen, values, dtype=np.bool_)
    assert (mask.shape, mask.dtype, mask.size) == ((100, 40), np.bool_, 4000)
    np.testing.assert_array_equal(read_mask(write_mask(tmp_path / "a.png", mask))[0], values > 0.5)
    assert read == [(10, 40)] * 10


@pytest.mark.parametrize(("write", "name", "value"), WRITERS)
def test_what_is_there_is_kept_unless_told(tmp_path, write, name, value):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=rf"{name} is there already: .*overwrite=True"):
        write(tmp_path / name, value)
    assert (tmp_path / name).read_text() == "mine"
    write(tmp_path / name, value, overwrite=True)
    assert (tmp_path / name).read_bytes() != b"mine"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    synced = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: ((tmp_path / "a.png").write_text("mine"), synced(number)))
    with pytest.raises(FileExistsError):
        write_mask(tmp_path / "a.png", MASK)
    assert (tmp_path / "a.png").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(("write", "name", "value"), WRITERS)
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, write, name, value):
    def full(_number):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / name).write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / name, value, overwrite=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "old")]


def test_a_kill_leaves_whole_files_only(tmp_path):
    code = (
        "import numpy as np, itertools; from saltzoo.seismic import write_probabilities\n"
        "for i in itertools.count():\n"
        f"    write_probabilities('{tmp_path}/%06d.npy' % i, np.full((900, 900), i, np.float32))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not (tmp_path / "000003.npy").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    files = sorted(tmp_path.glob("[0-9]*.npy"))
    assert len(files) >= 4
    for number, file in enumerate(files):
        assert (np.load(file) == number).all()
    assert all(path.name.startswith(".") for path in tmp_path.iterdir() if path not in files)


@pytest.mark.parametrize(
    ("write", "name", "value", "words"),
    [
        (write_mask, "a.png", MASK.astype(np.uint8), "mask must be H W bool, got .*: give probabilities > threshold"),
        (write_mask, "a.png", MASK[None], "mask must be H W bool"),
        (write_picture, "a.png", PROBABILITIES, "picture must be H W or H W 3, uint8"),
        (write_picture, "a.png", np.zeros((4, 4, 2), np.uint8), "picture must be H W or H W 3, uint8"),
        (write_picture, "a.png", np.zeros((0, 4), np.uint8), "uint8, not empty"),
        (write_probabilities, "a.npy", PROBABILITIES[:0], "probabilities must be H W float, of one or more pixels"),
        (write_picture, "a.png", np.zeros(4, np.uint8), "picture must be H W or H W 3, uint8"),
        (write_probabilities, "a.png", PROBABILITIES, r"path must end with \.tif or \.npy, got 'a\.png'"),
        (write_probabilities, "a.npy", MASK, "probabilities must be H W float"),
        (write_probabilities, "a.npy", PROBABILITIES[None], "probabilities must be H W float"),
        (
            write_probabilities,
            "a.tif",
            np.broadcast_to(np.float32(0), (40000, 30000)),
            r"must fit into the 4 GiB of a TIFF file, got \(40000, 30000\): write \.npy",
        ),
    ],
)
def test_other_values_are_refused(tmp_path, write, name, value, words):
    with pytest.raises(ValueError, match=words):
        write(tmp_path / name, value)
    assert not list(tmp_path.iterdir())
