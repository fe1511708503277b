"""A full disk: the error says what to do, no part of a file is left, and the run resumes to the same result."""

import errno
import io
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo import _files
from saltzoo.data import synthetic_tiles
from saltzoo.training import Recipe, artifacts, fit

SMALL = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}
TILES = synthetic_tiles(20, seed=3, size=40)
RECIPE = Recipe.from_dict({"model": {"name": "unet", "options": SMALL}, "epochs": 2, "batch_size": 8})


replaced = partial(_files.whole_file, overwrite=True)


class FullFile(io.FileIO):
    """A file on a disk with no room."""

    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_disk(monkeypatch, *, after=0):
    """Let the disk be full after a number of files."""
    opened = []

    def open_file(path, mode):
        opened.append(path)
        return (FullFile if len(opened) > after else io.FileIO)(path, mode)

    monkeypatch.setattr(_files, "io", SimpleNamespace(FileIO=open_file))


WRITERS = {
    "torch.save": lambda file: torch.save({"a": torch.zeros(100_000)}, file),
    "numpy": lambda file: np.savez_compressed(file, a=np.arange(100_000)),
    "bytes": lambda file: file.write(b"few"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_cannot_be_written_is_as_before(writer, tmp_path, monkeypatch):
    target = tmp_path / "file"
    target.write_bytes(b"before")
    with monkeypatch.context() as patch:
        fill_disk(patch)
        with (
            pytest.raises(OSError, match="No space left on device") as caught,
            replaced(target) as file,
        ):
            WRITERS[writer](file)
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"before"
    with replaced(target) as file:
        WRITERS[writer](file)
    assert target.read_bytes() != b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("writer", WRITERS)
def test_a_device_without_room_gives_the_same_error(writer, tmp_path, monkeypatch):
    def open_full(path, mode):
        io.FileIO(path, mode).close()
        return io.FileIO("/dev/full", mode)

    monkeypatch.setattr(_files, "io", SimpleNamespace(FileIO=open_full))
    with (
        pytest.raises(OSError, match="No space left on device"),
        replaced(tmp_path / "file") as file,
    ):
        WRITERS[writer](file)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_writer_itself_passes_through(tmp_path):
    with pytest.raises(AttributeError, match="local object"), replaced(tmp_path / "file") as file:
        torch.save({"function": lambda: None}, file)
    assert list(tmp_path.iterdir()) == []


def run(out, **options):
    return fit(RECIPE, TILES, out, tell=lambda line: None, **options)


def test_a_disk_that_is_full_at_once_leaves_a_usable_folder(tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(OSError, match=r"the disk of .*run is full .*: no epoch was written: free space, or choose"):
            run(out)
    assert list(out.iterdir()) == []
    assert run(out) == run(tmp_path / "whole")


def refuse(*given, **named):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


SLOW_PLACES = [pytest.param(place, marks=pytest.mark.slow) for place in ("log", "second state", "picture")]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["state", "checkpoint", *SLOW_PLACES])
def test_a_run_whose_disk_was_full_resumes_to_the_same_result(place, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        if place == "checkpoint":
            patch.setattr(artifacts, "save_pretrained", refuse)
        elif place == "picture":
            patch.setattr(artifacts.draw, "save_png", refuse)
        else:
            fill_disk(patch, after={"state": 0, "log": 1, "second state": 3}[place])
        with pytest.raises(OSError, match=r"the disk of .* is full") as caught:
            run(out)
    assert caught.value.errno == errno.ENOSPC
    assert not [path for path in out.rglob("*") if "part" in path.name]
    begun = (out / "last.pt").exists()
    assert begun == (place != "state")
    assert ("last.pt holds the last epoch that was written whole" in str(caught.value)) == begun
    assert run(out, resume=begun) == run(tmp_path / "whole")
    ours, theirs = (
        saltzoo.create_model(f"local-dir:{one / 'model'}").state_dict() for one in (out, tmp_path / "whole")
    )
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    rows = [
        [line.rsplit(",", 1)[0] for line in (one / "log.csv").read_text().split()] for one in (out, tmp_path / "whole")
    ]
    assert rows[0] == rows[1]


def test_other_errors_of_the_disk_pass_through(tmp_path, monkeypatch):
    def broken(*given, **named):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(artifacts, "save_pretrained", broken)
    with pytest.raises(OSError, match="Input/output error") as caught:
        run(tmp_path)
    assert "full" not in str(caught.value)
